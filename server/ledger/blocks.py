"""Sealing what was posted into the hash chain, and checking it against the chain; the format is in chain.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from bankdb import ledger_blocks as queries
from bankdb.models import LedgerBlock
from bankdb.verification import list_unsealed_transfers

from server.database import Connection
from server.ledger.chain import NOTHING, digest_at, digests_of, entries_in, hash_of

# A slice is digested without a pause: small, since the server goes on answering in between.
_SLICE = 200
_BLOCKS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends.

    Attributes:
        position: Of the last event that is sealed.
        hash: Of the last block.
        block_count: How many blocks there are; 0 where only position and hash are known.
    """

    position: int
    hash: bytes
    block_count: int = 0


@dataclass(frozen=True, slots=True)
class Flaw:
    """One place where chain and ledger disagree.

    Attributes:
        subject: A transfer's id, or `block` and its number, or `head`.
        detail: What differs, as a sentence.
    """

    subject: str
    detail: str


async def get_head(connection: Connection) -> Head | None:
    """Where the chain ends; None before the first block."""
    last = await queries.get_last_ledger_block(connection)
    return None if last is None else Head(last.last_position, last.hash, last.number)


async def seal(connection: Connection, head: Head | None, last_position: int) -> Head:
    """Seal the events after the head up to a position, as one block.

    Args:
        connection: Of the one process that seals.
        head: The present end of the chain.
        last_position: All events up to it have their positions.

    Returns:
        The new end.

    Raises:
        asyncpg.UniqueViolationError: Another process has sealed this block.
    """
    before = head or Head(0, NOTHING)
    first_position = before.position + 1
    ids = await queries.list_posted_transfer_ids(connection, first_position=first_position, last_position=last_position)
    digests, entry_count = await _read_digests(connection, ids)
    unhashed = LedgerBlock(
        number=before.block_count + 1,
        first_position=first_position,
        last_position=last_position,
        entry_count=entry_count,
        transfer_ids=ids,
        digests=b"".join(digests),
        previous_hash=before.hash,
        hash=b"",
        create_time=datetime.now(UTC),
    )
    block = unhashed._replace(hash=hash_of(unhashed))
    await queries.insert_ledger_block(
        connection,
        number=block.number,
        first_position=block.first_position,
        last_position=block.last_position,
        entry_count=block.entry_count,
        transfer_ids=block.transfer_ids,
        digests=block.digests,
        previous_hash=block.previous_hash,
        hash=block.hash,
    )
    return Head(block.last_position, block.hash, block.number)


async def find_flaws(connection: Connection, head: Head | None, expected: Head | None, most: int) -> list[Flaw]:
    """Compute the chain anew from what is stored and compare.

    Reads block by block: how much memory it takes does not depend on how many there are.

    Args:
        connection: In a transaction with one snapshot.
        head: The end of the chain in this snapshot.
        expected: An end that the chain had once; None to believe the chain itself.
        most: How many flaws are enough.
    """
    flaws: list[Flaw] = []
    met = expected is None
    before: LedgerBlock | None = None
    while len(flaws) < most:
        blocks = await queries.list_ledger_blocks(
            connection, after_number=before.number if before else 0, most=_BLOCKS_AT_ONCE
        )
        if not blocks:
            break
        for block in blocks:
            flaws += _flaws_of_block(block, before)
            if expected is not None and block.last_position == expected.position:
                met = True
                if block.hash != expected.hash:
                    detail = f"its hash is {block.hash.hex()}, {expected.hash.hex()} is expected"
                    flaws.append(Flaw(f"block {block.number}", detail))
            flaws += await _changed_transfers(connection, block)
            before = block
    if not met and expected is not None and len(flaws) < most:
        detail = f"no block ends at the expected position {expected.position}: blocks were removed or sealed anew"
        flaws.append(Flaw("head", detail))
    if len(flaws) < most:
        never_posted = await list_unsealed_transfers(connection, head_position=head.position if head else 0, most=most)
        flaws += [Flaw(str(transfer_id), "it is in no block and has no event") for transfer_id in never_posted]
    return flaws[:most]


def _flaws_of_block(block: LedgerBlock, before: LedgerBlock | None) -> list[Flaw]:
    number, position, previous_hash = (
        (before.number, before.last_position, before.hash) if before is not None else (0, 0, NOTHING)
    )
    subject = f"block {block.number}"
    flaws = []
    if block.number != number + 1 or block.first_position != position + 1:
        flaws.append(Flaw(subject, f"blocks are missing between it and block {number}"))
    if block.previous_hash != previous_hash:
        flaws.append(Flaw(subject, f"it does not continue block {number}"))
    if block.hash != hash_of(block):
        flaws.append(Flaw(subject, "its hash is not that of its content"))
    return flaws


async def _changed_transfers(connection: Connection, block: LedgerBlock) -> list[Flaw]:
    digests, _ = await _read_digests(connection, block.transfer_ids)
    flaws = []
    for index, (transfer_id, digest) in enumerate(zip(block.transfer_ids, digests, strict=True)):
        sealed = digest_at(block, index)
        if digest == NOTHING:
            flaws.append(Flaw(str(transfer_id), f"it is not stored, but is in block {block.number}"))
        elif digest != sealed:
            detail = f"it or an entry of it is not what block {block.number} sealed: {sealed.hex()}, now {digest.hex()}"
            flaws.append(Flaw(str(transfer_id), detail))
    return flaws


async def _read_digests(connection: Connection, ids: Sequence[UUID]) -> tuple[list[bytes], int]:
    """Digests of transfers, in order, and how many entries they cover."""
    digests: list[bytes] = []
    entry_count = 0
    for start in range(0, len(ids), _SLICE):
        part = ids[start : start + _SLICE]
        rows = await queries.list_transfers_to_digest(connection, ids=part)
        digests += digests_of(part, rows)
        entry_count += entries_in(rows)
    return digests, entry_count
