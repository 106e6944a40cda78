"""What the ledger is asked to do and what it answers."""

from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from server.caller import Role
from server.errors import BankError

UNRESOLVED = UUID(int=0)
"""Stands for the accounts of a movement that names a hold or a transfer, until they are looked up."""


class Kind(StrEnum):
    """What shall happen; those that move money are stored in transfers.kind."""

    TRANSFER = "TRANSFER"
    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    CAPTURE = "CAPTURE"
    REVERSAL = "REVERSAL"
    HOLD = "HOLD"
    VOID = "VOID"


class Movement(NamedTuple):
    """Money that shall move from one account to another, be held for it, or be let go.

    Already parsed: the amount is 1 to 10^17 minor units, the currency is known and the accounts
    differ.

    Attributes:
        session_id: The caller's session; None for what the service does by itself.
        rpc: Full method name, part of what a request id stands for.
        fingerprint: Digest of all fields, see `fingerprint_of`.
        source_id: The account to debit. Looked up for CAPTURE, VOID and REVERSAL, like
            `destination_id` and `currency_code`.
        amount_minor: None for CAPTURE and REVERSAL of all there is, and for VOID.
        reference: The caller's own unique reference; None if there is none.
        metadata: JSON object; None if empty.
        validate_only: Check and compute, but write nothing.
        subject_id: The hold to capture or void, or the transfer to reverse.
        expire_time: When a new hold ends; None: after the default time.
        order_id: The order that a hold, its capture or void, or a reversal belongs to, which then
            decides who may settle it; None if none.
        roles_any: The caller must have one of these, read under the locks; empty: whatever roles.
    """

    kind: Kind
    user_id: UUID
    session_id: UUID | None
    request_id: UUID
    rpc: str
    fingerprint: bytes
    source_id: UUID
    destination_id: UUID
    amount_minor: int | None
    currency_code: str
    description: str = ""
    reference: str | None = None
    metadata: str | None = None
    validate_only: bool = False
    subject_id: UUID | None = None
    expire_time: datetime | None = None
    order_id: UUID | None = None
    roles_any: frozenset[Role] = frozenset()


class Posted(NamedTuple):
    """A movement that was posted: the transfer and, by side, the entry.

    Attributes:
        amount_minor: What was moved, also where the movement said "all".
        source_user_id: Owner of the source; None for a system account. The same for destination.
    """

    movement: Movement
    transfer_id: UUID
    amount_minor: int
    create_time: datetime
    source_user_id: UUID | None
    source_sequence: int
    source_balance_minor: int
    destination_user_id: UUID | None
    destination_sequence: int
    destination_balance_minor: int

    @property
    def result_id(self) -> UUID:
        """What the request id stands for from now on."""
        return self.transfer_id


class Held(NamedTuple):
    """A hold that was placed, or voided."""

    movement: Movement
    hold_id: UUID

    @property
    def result_id(self) -> UUID:
        """What the request id stands for from now on."""
        return self.hold_id


class Replay(NamedTuple):
    """The request id had been used for the same movement: what it made then, transfer or hold."""

    result_id: UUID


Done = Posted | Held | Replay
Outcome = Done | BankError


def fingerprint_of(*fields: object) -> bytes:
    """Digest that is equal exactly when all fields are, whatever form they were sent in.

    Args:
        fields: Parsed values with an unambiguous `repr`: numbers, strings, UUIDs, None.
    """
    return blake2b(repr(fields).encode(), digest_size=16).digest()
