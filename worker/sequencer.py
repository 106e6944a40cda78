"""The sequencer: gives committed events the dense positions that readers follow."""

import asyncio
from time import monotonic
from typing import NoReturn

import structlog
from bankdb import events

from server.database import Connection, Database
from worker.metrics import EVENTS_SEQUENCED, SEQUENCER_LAG
from worker.settings import (
    SEQUENCER_BATCH,
    SEQUENCER_BUSY_POLL_S,
    SEQUENCER_IDLE_POLL_S,
    SEQUENCER_LOCK_KEY,
    SEQUENCER_SETTLE_S,
    SEQUENCER_STANDBY_POLL_S,
    SEQUENCER_SWEEP_S,
)

# Whatever the statistics of a young table say, a batch is a few index look-ups.
CONNECTION_SETTINGS = {
    "application_name": "sequencer",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

log = structlog.get_logger()


class Sequencer:
    """Numbers events 1, 2, 3, … in an order that never changes for a reader.

    Ids are drawn before the commit, so rows become visible out of id order. A position is given to
    visible rows only and always above all that were given before: a reader who follows positions
    meets every event once. Events of one account are drawn under its lock, hence visible in id
    order, hence numbered in it.

    Args:
        database: Connections opened with CONNECTION_SETTINGS.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> NoReturn:
        """Wait until no other process is the sequencer, then be it until the connection fails."""
        async with self._database.connection() as connection:
            try:
                while not await events.lock_sequencing(connection, key=SEQUENCER_LOCK_KEY):  # noqa: ASYNC110 - in the database
                    await asyncio.sleep(SEQUENCER_STANDBY_POLL_S)
                log.info("sequencer_active")
                await _sequence(connection)
            finally:
                # The lock ends with the connection.
                connection.terminate()


async def _sequence(connection: Connection) -> NoReturn:
    # Numbered rows leave the index of unnumbered ones only when no snapshot sees them any more and
    # the table is vacuumed. Scans begin after them, at an id that was reached so long ago that no
    # transaction of the service is still to commit a lower one. If one did nevertheless, its events
    # would not be lost: a sweep begins at 0.
    settled = recent = reached = 0
    next_mark = next_sweep = monotonic()
    while True:
        now = monotonic()
        if now >= next_mark:
            settled, recent, next_mark = recent, reached, now + SEQUENCER_SETTLE_S
        sweeps = now >= next_sweep
        batch = await events.update_event_positions(connection, after_id=0 if sweeps else settled)
        assert batch is not None  # an aggregate always has a row
        is_full = batch.event_count == SEQUENCER_BATCH
        if sweeps and not is_full:
            next_sweep = now + SEQUENCER_SWEEP_S
        if batch.event_count:
            reached = max(reached, batch.last_id)
            EVENTS_SEQUENCED.inc(batch.event_count)
            SEQUENCER_LAG.set(batch.lag_s)
        if not is_full:
            await asyncio.sleep(SEQUENCER_BUSY_POLL_S if batch.event_count else SEQUENCER_IDLE_POLL_S)
