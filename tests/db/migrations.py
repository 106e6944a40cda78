"""A database to migrate, and what its schema looks like."""

from urllib.parse import urlsplit

import asyncpg

from migrate.runner import MIGRATIONS_DIR
from tests.conftest import PostgresServer

VERSIONS = sorted(path.name.partition("_")[0] for path in MIGRATIONS_DIR.glob("*.sql"))

_SCHEMA = """
SELECT concat_ws(
    ' ', 'table', relname, relkind, reloptions, relowner::regrole, obj_description(oid, 'pg_class'), relacl
)
FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL
SELECT concat_ws(
    ' ', 'column', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
    pg_get_expr(adbin, adrelid), col_description(attrelid, attnum), attacl
)
FROM pg_attribute
INNER JOIN pg_class ON attrelid = pg_class.oid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT concat_ws(' ', 'function', obj_description(oid, 'pg_proc'), pg_get_functiondef(oid), proacl)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT concat_ws(' ', 'schema', nspname, nspacl) FROM pg_namespace WHERE nspname = 'public'
ORDER BY 1
"""
_DATA = """
SELECT md5(string_agg(currencies::text, ' ' ORDER BY currency_code)) FROM currencies
UNION ALL
SELECT md5(string_agg((id, kind, display_name, currency_code, state)::text, ' ' ORDER BY id)) FROM accounts
"""


async def run(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """What a statement returns, on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


async def schema(url: str) -> list[str]:
    """Everything that the migrations make, one thing a line."""
    return [row[0] for row in await run(url, _SCHEMA)]


async def reference_data(url: str) -> list[str]:
    """Digests of the rows that the migrations write."""
    return [row[0] for row in await run(url, _DATA)]


async def applied(url: str) -> list[str]:
    """Versions of the migrations that are applied."""
    return [row[0] for row in await run(url, "SELECT version FROM schema_migrations ORDER BY version")]


def superuser_url(postgres: PostgresServer, url: str) -> str:
    """The same database as its superuser."""
    return urlsplit(postgres.superuser_url)._replace(path=urlsplit(url).path).geturl()
