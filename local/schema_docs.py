"""Describe the live schema: docs/schema.dbml, for tools, and docs/schema.md, with its diagrams.

python -m local.schema_docs           write both, from MIGRATION_DATABASE_URL or the running local stack
python -m local.schema_docs --check   change nothing, exit 1 naming what differs
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from local.errors import StackError
from local.migrate import owner_url
from local.settings import ROOT, read_settings

GROUPS: Mapping[str, tuple[str, ...]] = {
    "People and sessions": (
        "users",
        "sessions",
        "refresh_tokens",
        "mail_tokens",
        "sign_in_throttles",
        "rate_limits",
        "audit_events",
    ),
    "The ledger": (
        "currencies",
        "accounts",
        "requests",
        "transfers",
        "entries",
        "reversed_totals",
        "holds",
        "scheduled_transfers",
        "ledger_blocks",
    ),
    "The shop": ("products", "inventory_movements", "orders", "order_items"),
    "What happened, and what is to be done": (
        "events",
        "outbox",
        "webhooks",
        "webhook_secrets",
        "webhook_deliveries",
        "webhook_feed",
    ),
}
"""Every table, under the heading of its diagram."""

_COLUMNS = """
SELECT
    relation.relname AS table_name,
    obj_description(relation.oid, 'pg_class') AS table_note,
    attribute.attname AS name,
    format_type(attribute.atttypid, attribute.atttypmod) AS type,
    attribute.attnotnull AS required,
    attribute.attidentity <> '' AS identity,
    pg_get_expr(fallback.adbin, fallback.adrelid) AS fallback,
    col_description(relation.oid, attribute.attnum) AS note
FROM pg_attribute AS attribute
INNER JOIN pg_class AS relation ON attribute.attrelid = relation.oid
LEFT JOIN pg_attrdef AS fallback ON fallback.adrelid = relation.oid AND fallback.adnum = attribute.attnum
WHERE
    relation.relnamespace = 'public'::regnamespace
    AND relation.relkind IN ('r', 'p')
    AND NOT relation.relispartition
    AND relation.relname <> 'schema_migrations'
    AND attribute.attnum > 0
    AND NOT attribute.attisdropped
ORDER BY relation.relname, attribute.attnum
"""
_KEYS = """
SELECT
    class.relname AS table_name,
    index.indisprimary AS is_primary,
    index.indisunique AS is_unique,
    pg_get_expr(index.indpred, index.indrelid) AS condition,
    name.relname AS name,
    array(
        SELECT pg_get_indexdef(index.indexrelid, position, true)
        FROM generate_series(1, index.indnkeyatts) AS position ORDER BY position
    ) AS columns
FROM pg_index AS index
INNER JOIN pg_class AS class ON index.indrelid = class.oid
INNER JOIN pg_class AS name ON index.indexrelid = name.oid
WHERE class.relnamespace = 'public'::regnamespace AND NOT class.relispartition
ORDER BY class.relname, index.indisprimary DESC, name.relname
"""
_REFERENCES = """
SELECT
    conrelid::regclass::text AS table_name,
    confrelid::regclass::text AS target,
    array(
        SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS key (number, position)
        INNER JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY position
    ) AS columns,
    array(
        SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS key (number, position)
        INNER JOIN pg_attribute ON attrelid = confrelid AND attnum = number ORDER BY position
    ) AS target_columns
FROM pg_constraint
WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conparentid = 0
ORDER BY 1, conname
"""
_HEAD = """\
# The schema

Written by `make schema-docs` from a migrated database, and compared with one by the tests: do not edit it. The same,
with types, defaults and indexes, stands in [schema.dbml](schema.dbml) for tools that read
[DBML](https://dbml.dbdiagram.io). A line is a foreign key; columns that are called like an id of another table and have
no line carry none on purpose, see [decision 0012](decisions/0012-no-foreign-keys-on-postings.md). PK is the primary
key, FK a foreign key, UK a unique one.
"""


@dataclass(frozen=True)
class Schema:
    """The tables of a database, as its catalog has them, by name."""

    columns: Mapping[str, Sequence[asyncpg.Record]]
    keys: Mapping[str, Sequence[asyncpg.Record]]
    references: Mapping[str, Sequence[asyncpg.Record]]


class UngroupedTableError(Exception):
    """A table is in no diagram, or a diagram names a table that is not there."""


async def read(url: str) -> Schema:
    """The schema of the database at `url`."""
    connection = await asyncpg.connect(url)
    try:
        found = [await connection.fetch(query) for query in (_COLUMNS, _KEYS, _REFERENCES)]
    finally:
        await connection.close()
    return Schema(*map(_by_table, found))


def documents(schema: Schema) -> dict[str, str]:
    """The files below docs/, by name.

    Raises:
        UngroupedTableError: GROUPS does not name the tables that are there.
    """
    grouped = [table for tables in GROUPS.values() for table in tables]
    if odd := sorted(schema.columns.keys() ^ set(grouped)):
        raise UngroupedTableError(f"GROUPS in local/schema_docs.py and the schema differ in {', '.join(odd)}")
    diagrams = [f"\n## {title}\n\n{_diagram(schema, tables)}" for title, tables in GROUPS.items()]
    tables = "\n".join(_dbml_table(schema, table) for table in sorted(schema.columns))
    return {"schema.dbml": tables + "\n" + _dbml_references(schema), "schema.md": _HEAD + "".join(diagrams)}


def _by_table(rows: Sequence[asyncpg.Record]) -> dict[str, list[asyncpg.Record]]:
    tables: dict[str, list[asyncpg.Record]] = {}
    for row in rows:
        tables.setdefault(row["table_name"], []).append(row)
    return tables


def _diagram(schema: Schema, tables: Sequence[str]) -> str:
    lines = ["```mermaid", "erDiagram"]
    for table in tables:
        lines.append(f"    {table} {{")
        for column in schema.columns[table]:
            marks = _marks(schema, table, column["name"])
            kind = column["type"].replace(" ", "_").replace("_with_time_zone", "tz")
            lines.append(f"        {kind} {column['name']}{' ' + ', '.join(marks) if marks else ''}")
        lines.append("    }")
    for table in tables:
        for reference in schema.references.get(table, ()):
            required = {column["name"] for column in schema.columns[table] if column["required"]}
            one = "||" if required.issuperset(reference["columns"]) else "|o"
            many = "o|" if _is_unique(schema, table, reference["columns"]) else "o{"
            lines.append(f"    {reference['target']} {one}--{many} {table} : {'_'.join(reference['columns'])}")
    return "\n".join([*lines, "```", ""])


def _marks(schema: Schema, table: str, column: str) -> list[str]:
    keys = [key for key in schema.keys.get(table, ()) if column in key["columns"]]
    marks = []
    if any(key["is_primary"] for key in keys):
        marks.append("PK")
    if any(column in reference["columns"] for reference in schema.references.get(table, ())):
        marks.append("FK")
    if any(key["is_unique"] and not key["is_primary"] for key in keys):
        marks.append("UK")
    return marks


def _is_unique(schema: Schema, table: str, columns: Sequence[str]) -> bool:
    return any(key["is_unique"] and set(key["columns"]) == set(columns) for key in schema.keys.get(table, ()))


def _dbml_table(schema: Schema, table: str) -> str:
    lines = [f"Table {table} {{"]
    for column in schema.columns[table]:
        settings = ["not null"] if column["required"] else []
        if column["identity"]:
            settings.append("increment")
        if column["fallback"] is not None:
            settings.append(f"default: `{column['fallback']}`")
        if column["note"]:
            settings.append(f"note: {_text(column['note'])}")
        shown = f" [{', '.join(settings)}]" if settings else ""
        kind = column["type"] if " " not in column["type"] else f'"{column["type"]}"'
        lines.append(f"  {column['name']} {kind}{shown}")
    lines += ["", "  indexes {", *(_dbml_index(key) for key in schema.keys.get(table, ())), "  }"]
    if schema.columns[table][0]["table_note"]:
        lines += ["", f"  Note: {_text(schema.columns[table][0]['table_note'])}"]
    return "\n".join([*lines, "}", ""])


def _dbml_index(key: asyncpg.Record) -> str:
    # A plain column stands as it is, an expression between backticks.
    columns = ", ".join(name if name.isidentifier() else f"`{name}`" for name in key["columns"])
    settings = ["pk"] if key["is_primary"] else ["unique"] if key["is_unique"] else []
    if not key["is_primary"]:
        settings.append(f"name: '{key['name']}'")
    if key["condition"] is not None:
        settings.append(f"note: {_text('where ' + key['condition'])}")
    return f"    ({columns}) [{', '.join(settings)}]"


def _dbml_references(schema: Schema) -> str:
    lines = []
    for table, references in sorted(schema.references.items()):
        for reference in references:
            sign = "-" if _is_unique(schema, table, reference["columns"]) else ">"
            here, there = (", ".join(reference[key]) for key in ("columns", "target_columns"))
            lines.append(f"Ref: {table}.({here}) {sign} {reference['target']}.({there})")
    return "\n".join([*lines, ""])


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def differing(wanted: Mapping[str, str], folder: Path) -> list[str]:
    """Names of the files in `folder` that are not as wanted."""
    paths = {name: folder / name for name in wanted}
    return [name for name, path in paths.items() if not path.exists() or path.read_text() != wanted[name]]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.schema_docs", description="Describe the live schema.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if docs/ is not up to date")
    check: bool = parser.parse_args().check
    try:
        wanted = documents(asyncio.run(read(owner_url(read_settings()))))
    except (StackError, UngroupedTableError) as error:
        print(error, file=sys.stderr)
        return 1
    changed = differing(wanted, ROOT / "docs")
    for name in changed:
        if not check:
            (ROOT / "docs" / name).write_text(wanted[name])
        print(f"docs/{name}: {'differs from the schema: run make schema-docs' if check else 'written'}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
