"""Splits the two tables that grow without end: `python -m local.partitioning events|entries`.

Nothing has to be split to run; docs/partitioning.md says when it pays. The database is that of
MIGRATION_DATABASE_URL, or of the local stack.
"""

import argparse
import asyncio
import sys
from typing import TypeAlias

import asyncpg

from local.errors import StackError
from local.migrate import owner_url
from local.settings import read_settings

EVENTS_PER_PARTITION = 50_000_000
ENTRY_PARTITIONS = 16

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '2s'"
_ROOM = r"""
SELECT max(substring(pg_get_expr(relpartbound, oid) FROM $$TO \('(\d+)'\)$$)::bigint)
FROM pg_class INNER JOIN pg_inherits ON pg_class.oid = inhrelid WHERE inhparent = 'events'::regclass
"""
"""Up to which id there are partitions."""
_IS_PARTITIONED = "SELECT relkind = 'p' FROM pg_class WHERE oid = $1::text::regclass"


async def partition_events(connection: Connection, per_partition: int = EVENTS_PER_PARTITION) -> str:
    """Split `events` by id, or see to it that there is room for the next ones; traffic goes on.

    The table as it is becomes the first partition, so no row is moved. A default partition takes what comes when
    nobody made room in time.

    Args:
        connection: The owner's.
        per_partition: How many ids each partition has.

    Returns:
        What was done.

    Raises:
        asyncpg.LockNotAvailableError: A long transaction was in the way; run it again.
    """
    if not await connection.fetchval(_IS_PARTITIONED, "events"):
        await _adopt_events(connection, per_partition)
    last_id = await connection.fetchval("SELECT coalesce(max(id), 0) FROM events")
    made = []
    while (begin := await connection.fetchval(_ROOM)) < last_id + per_partition:
        name = f"events_from_{begin}"
        async with connection.transaction():
            await connection.execute(_LOCK_TIMEOUT)
            await connection.execute(
                f"CREATE TABLE {name} PARTITION OF events FOR VALUES FROM ({begin}) TO ({begin + per_partition})"
            )
        made.append(name)
    return f"events: made {', '.join(made)}" if made else "events: there is room"


async def partition_entries(connection: Connection, count: int = ENTRY_PARTITIONS) -> str:
    """Split `entries` by account; nothing is posted until every row is moved.

    Args:
        connection: The owner's.
        count: Into how many parts.

    Returns:
        What was done.

    Raises:
        asyncpg.LockNotAvailableError: A long transaction was in the way; run it again.
    """
    if await connection.fetchval(_IS_PARTITIONED, "entries"):
        return "entries: split already"
    async with connection.transaction():
        await connection.execute(_LOCK_TIMEOUT)
        await connection.execute(
            """
            LOCK TABLE entries IN ACCESS EXCLUSIVE MODE;
            ALTER TABLE entries RENAME TO entries_whole;
            CREATE TABLE entries (LIKE entries_whole INCLUDING DEFAULTS INCLUDING COMMENTS INCLUDING CONSTRAINTS)
            PARTITION BY HASH (account_id);
            """
        )
        for remainder in range(count):
            await connection.execute(
                f"CREATE TABLE entries_{remainder:02} PARTITION OF entries"
                f" FOR VALUES WITH (MODULUS {count}, REMAINDER {remainder})"
            )
        await connection.execute(
            """
            INSERT INTO entries SELECT * FROM entries_whole;
            DROP TABLE entries_whole;
            ALTER TABLE entries ADD CONSTRAINT entries_pkey PRIMARY KEY (account_id, sequence);
            GRANT SELECT, INSERT ON entries TO bank_app;
            """
        )
    await connection.execute("ANALYZE entries")
    return f"entries: split into {count}"


async def _adopt_events(connection: Connection, per_partition: int) -> None:
    last_id = await connection.fetchval("SELECT coalesce(max(id), 0) FROM events")
    # Far enough for what is written until the swap is done.
    end = (last_id // per_partition + 1) * per_partition
    if end - last_id < per_partition // 10:
        end += per_partition
    # Checked beside traffic, so that the swap need not look at any row.
    await connection.execute(
        f"ALTER TABLE events DROP CONSTRAINT IF EXISTS events_first_range;"
        f" ALTER TABLE events ADD CONSTRAINT events_first_range CHECK (id < {end}) NOT VALID"
    )
    await connection.execute("ALTER TABLE events VALIDATE CONSTRAINT events_first_range")
    async with connection.transaction():
        await connection.execute(_LOCK_TIMEOUT)
        await connection.execute(
            f"""
            LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
            ALTER TABLE events ALTER COLUMN id DROP IDENTITY;
            ALTER TABLE events RENAME TO events_first;
            ALTER INDEX events_pkey RENAME TO events_first_pkey;
            ALTER INDEX events_position_key RENAME TO events_first_position_key;
            ALTER INDEX events_unsequenced_idx RENAME TO events_first_unsequenced_idx;
            ALTER INDEX events_user_id_idx RENAME TO events_first_user_id_idx;
            ALTER INDEX events_counterparty_user_id_idx RENAME TO events_first_counterparty_user_id_idx;
            CREATE SEQUENCE events_id_seq;
            GRANT USAGE ON SEQUENCE events_id_seq TO bank_app;
            SELECT setval('events_id_seq', (SELECT coalesce(max(id), 0) + 1 FROM events_first), false);
            CREATE TABLE events (LIKE events_first INCLUDING DEFAULTS INCLUDING COMMENTS) PARTITION BY RANGE (id);
            ALTER TABLE events ALTER COLUMN id SET DEFAULT nextval('events_id_seq');
            ALTER SEQUENCE events_id_seq OWNED BY events.id;
            ALTER TABLE events
            ADD CONSTRAINT events_pkey PRIMARY KEY (id),
            ADD CONSTRAINT events_position_positive CHECK (position > 0);
            CREATE INDEX events_position_idx ON events (position) WHERE position IS NOT NULL;
            CREATE INDEX events_unsequenced_idx ON events (id) WHERE position IS NULL;
            CREATE INDEX events_user_id_idx ON events (user_id, position) WHERE position IS NOT NULL;
            CREATE INDEX events_counterparty_user_id_idx ON events (counterparty_user_id, position)
            WHERE position IS NOT NULL AND counterparty_user_id IS NOT NULL;
            ALTER TABLE events ATTACH PARTITION events_first FOR VALUES FROM (MINVALUE) TO ({end});
            CREATE TABLE events_default PARTITION OF events DEFAULT;
            GRANT SELECT, INSERT ON events TO bank_app;
            GRANT UPDATE (position) ON events TO bank_app;
            """  # noqa: S608 - a number of our own
        )


async def _run(table: str) -> str:
    connection = await asyncpg.connect(owner_url(read_settings()))
    try:
        return await (partition_events(connection) if table == "events" else partition_entries(connection))
    finally:
        await connection.close()


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.partitioning", description="Split a table that grows.")
    parser.add_argument("table", choices=["events", "entries"])
    try:
        print(asyncio.run(_run(parser.parse_args().table)))
    except (StackError, OSError, asyncpg.PostgresError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
