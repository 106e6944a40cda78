"""UUIDs of the kind in which the database driver hands them out: equal to Python's own, and ten times as quick.

A transfer is read, compared, hashed and written as text with a dozen of them.
"""

from uuid import UUID

from asyncpg.pgproto import pgproto

NIL = UUID(int=0)
"""The id of nothing."""


def uuid_of_text(text: str) -> UUID:
    """The UUID of a text in the 36-character form.

    Raises:
        ValueError: It is none.
    """
    return pgproto.UUID(text)


def uuid_of_bytes(raw: bytes) -> UUID:
    """The UUID of 16 bytes.

    Raises:
        ValueError: They are fewer or more.
    """
    return pgproto.UUID(raw)
