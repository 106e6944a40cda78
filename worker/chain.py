"""Seals what was posted into the hash chain, after the fact: nobody who moves money waits for it."""

import asyncio
from typing import NoReturn

import structlog
from bankdb import events
from bankdb.ledger_blocks import get_unsealed_span

from server.database import Connection, Database
from server.ledger.blocks import Head, get_head, seal
from worker.metrics import LEDGER_HEAD_POSITION
from worker.settings import (
    CHAIN_BLOCK_POSITIONS,
    CHAIN_INTERVAL_S,
    CHAIN_LOCK_KEY,
    CHAIN_POLL_S,
    CHAIN_STANDBY_POLL_S,
)

log = structlog.get_logger()


class Chain:
    """Appends blocks of events that have their positions; one process at a time does.

    Every head is logged as `ledger_head`: kept elsewhere, it proves later that nothing before it
    was changed.

    Args:
        database: Connections opened with the sequencer's CONNECTION_SETTINGS.
        interval_s: How long a transfer waits for its block to fill.
    """

    def __init__(self, database: Database, interval_s: float = CHAIN_INTERVAL_S) -> None:
        self._database = database
        self._interval_s = interval_s

    async def run(self) -> NoReturn:
        """Wait until no other process seals, then do so until the connection fails."""
        async with self._database.connection() as connection:
            try:
                while not await events.lock_sequencing(connection, key=CHAIN_LOCK_KEY):  # noqa: ASYNC110 - in the database
                    await asyncio.sleep(CHAIN_STANDBY_POLL_S)
                head = await get_head(connection)
                while True:
                    sealed = await self.seal_next(connection, head)
                    if sealed is None:
                        await asyncio.sleep(CHAIN_POLL_S)
                    else:
                        head = sealed
            finally:
                # The lock ends with the connection.
                connection.terminate()

    async def seal_next(self, connection: Connection, head: Head | None) -> Head | None:
        """Seal the next block, if it is full or has waited long enough.

        Returns:
            The new head; None if nothing was sealed.
        """
        span = await get_unsealed_span(
            connection, after_position=head.position if head else 0, most=CHAIN_BLOCK_POSITIONS
        )
        assert span is not None  # an aggregate always has a row
        is_full = span.event_count == CHAIN_BLOCK_POSITIONS
        has_waited = span.age_s > 0 and span.age_s >= self._interval_s
        if not (is_full or has_waited):
            return None
        sealed = await seal(connection, head, span.last_position)
        LEDGER_HEAD_POSITION.set(sealed.position)
        log.info("ledger_head", position=sealed.position, hash=sealed.hash.hex(), block=sealed.block_count)
        return sealed
