"""What the ledger is asked to do and what it answers."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from uuid import UUID

from server.errors import BankError


class Kind(StrEnum):
    """Why money moves; as stored in transfers.kind."""

    TRANSFER = "TRANSFER"
    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that shall move from one account to another.

    Already parsed: the amount is 1 to 10^17 minor units, the currency is known and the accounts
    differ.

    Attributes:
        session_id: The caller's session; None for what the service does by itself.
        rpc: Full method name, part of what a request id stands for.
        fingerprint: Digest of all fields, see `fingerprint_of`.
        reference: The caller's own unique reference; None if there is none.
        metadata: JSON object; None if empty.
        validate_only: Check and compute, but write nothing.
    """

    kind: Kind
    user_id: UUID
    session_id: UUID | None
    request_id: UUID
    rpc: str
    fingerprint: bytes
    source_id: UUID
    destination_id: UUID
    amount_minor: int
    currency_code: str
    description: str = ""
    reference: str | None = None
    metadata: str | None = None
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class Posted:
    """A movement that was posted: the transfer and, by side, the entry.

    Attributes:
        source_user_id: Owner of the source; None for a system account. The same for destination.
    """

    movement: Movement
    transfer_id: UUID
    create_time: datetime
    source_user_id: UUID | None
    source_sequence: int
    source_balance_minor: int
    destination_user_id: UUID | None
    destination_sequence: int
    destination_balance_minor: int


@dataclass(frozen=True, slots=True)
class Replay:
    """The request id had been used for the same movement: the transfer it posted then."""

    transfer_id: UUID


Outcome = Posted | Replay | BankError


def fingerprint_of(*fields: object) -> bytes:
    """Digest that is equal exactly when all fields are, whatever form they were sent in.

    Args:
        fields: Parsed values with an unambiguous `repr`: numbers, strings, UUIDs, None.
    """
    return blake2b(repr(fields).encode(), digest_size=16).digest()
