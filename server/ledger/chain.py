"""The hash chain over what was posted: digests of transfers, sealed in blocks, each naming the one before.

Everything is SHA-256. Integers are big-endian and signed; `i64` has 8 bytes, `i32` has 4. A UUID
is its 16 bytes, a time an i64 of microseconds since 1970-01-01 UTC, a text an i32 of its length
in bytes and its UTF-8.

Digest of a transfer, over these one after the other:

    id UUID · source_account_id UUID · destination_account_id UUID · initiator_user_id UUID
    request_id UUID · amount_minor i64 · source_sequence i64 · destination_sequence i64
    create_time · kind text · currency_code text · description text

    then, of what is optional, only what there is, after a byte that tells which:
    1 reference text · 2 metadata text: JSON, keys sorted, nothing between its tokens, not escaped
    beyond what JSON asks for · 3 hold_id UUID · 4 reverses_transfer_id UUID · 5 order_id UUID

    then twice, for the entry that is found under the source's account and sequence and for that
    under the destination's: a byte 0, or if it is there a byte 128 and
    transfer_id UUID · amount_minor i64 · balance_after_minor i64 · create_time

A field that is added to transfers later takes the next byte, and old digests stay what they are.

Hash of a block, over these one after the other:

    hash of the block before, 32 bytes, zeros before the first · number i64 · first_position i64
    last_position i64 · entry_count i32 · for each transfer in the order of positions: id UUID and
    digest, 32 bytes, zeros if there is no such transfer

Blocks are numbered 1, 2, 3, … and cover the positions of all events without a gap.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from struct import Struct
from uuid import UUID

from bankdb.ledger_blocks import ListTransfersToDigestRow
from bankdb.models import LedgerBlock

DIGEST_BYTES = 32
NOTHING = bytes(DIGEST_BYTES)
"""Stands for the hash before the first block, and for the digest of a transfer that is not there."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIXED = Struct(">16s16s16s16s16sqqqq")
_ENTRY = Struct(">B16sqqq")
_BLOCK = Struct(">32sqqqi")
_LENGTH = Struct(">i")
_REFERENCE, _METADATA, _HOLD_ID, _REVERSES_TRANSFER_ID, _ORDER_ID = (bytes([tag]) for tag in (1, 2, 3, 4, 5))
_NO_ENTRY, _HAS_ENTRY = bytes([0]), 128


def digest_of(row: ListTransfersToDigestRow) -> bytes:
    """The digest of a transfer and its two entries as they are stored."""
    parts = [
        _FIXED.pack(
            row.id.bytes,
            row.source_account_id.bytes,
            row.destination_account_id.bytes,
            row.initiator_user_id.bytes,
            row.request_id.bytes,
            row.amount_minor,
            row.source_sequence,
            row.destination_sequence,
            _microseconds(row.create_time),
        ),
        _text(row.kind),
        _text(row.currency_code),
        _text(row.description),
    ]
    if row.reference is not None:
        parts += (_REFERENCE, _text(row.reference))
    if row.metadata is not None:
        canonical = json.dumps(json.loads(row.metadata), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        parts += (_METADATA, _text(canonical))
    if row.hold_id is not None:
        parts += (_HOLD_ID, row.hold_id.bytes)
    if row.reverses_transfer_id is not None:
        parts += (_REVERSES_TRANSFER_ID, row.reverses_transfer_id.bytes)
    if row.order_id is not None:
        parts += (_ORDER_ID, row.order_id.bytes)
    parts += (
        _entry(row.debit_transfer_id, row.debit_amount_minor, row.debit_balance_after_minor, row.debit_create_time),
        _entry(row.credit_transfer_id, row.credit_amount_minor, row.credit_balance_after_minor, row.credit_create_time),
    )
    return sha256(b"".join(parts)).digest()


def digests_of(ids: Sequence[UUID], rows: Sequence[ListTransfersToDigestRow]) -> list[bytes]:
    """One digest for each id, in order; NOTHING for one without a row."""
    digests: Mapping[UUID, bytes] = {row.id: digest_of(row) for row in rows}
    return [digests.get(transfer_id, NOTHING) for transfer_id in ids]


def hash_of(block: LedgerBlock) -> bytes:
    """The hash that a block with this content has; its own field `hash` is not looked at."""
    hashed = sha256(
        _BLOCK.pack(block.previous_hash, block.number, block.first_position, block.last_position, block.entry_count)
    )
    for index, transfer_id in enumerate(block.transfer_ids):
        hashed.update(transfer_id.bytes)
        hashed.update(digest_at(block, index))
    return hashed.digest()


def digest_at(block: LedgerBlock, index: int) -> bytes:
    """The digest sealed for one of the block's transfers."""
    return block.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]


def entries_in(rows: Sequence[ListTransfersToDigestRow]) -> int:
    """How many entries the digests of these transfers cover."""
    return sum((row.debit_transfer_id is not None) + (row.credit_transfer_id is not None) for row in rows)


def _entry(
    transfer_id: UUID | None, amount_minor: int | None, balance_after_minor: int | None, create_time: datetime | None
) -> bytes:
    if transfer_id is None or amount_minor is None or balance_after_minor is None or create_time is None:
        return _NO_ENTRY
    return _ENTRY.pack(_HAS_ENTRY, transfer_id.bytes, amount_minor, balance_after_minor, _microseconds(create_time))


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _text(value: str) -> bytes:
    raw = value.encode()
    return _LENGTH.pack(len(raw)) + raw
