"""docs/schema.dbml and docs/schema.md are what the migrations make."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from local.schema_docs import UngroupedTableError, differing, documents, read
from local.settings import ROOT
from tests.conftest import CloneDatabase


@pytest.fixture
async def owner_url(clone_database: CloneDatabase) -> AsyncIterator[str]:
    async with clone_database() as database:
        yield database.owner_url


async def change(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


class TestDocuments:
    async def test_committed_ones_are_what_the_schema_says(self, owner_url: str) -> None:
        assert differing(documents(await read(owner_url)), ROOT / "docs") == [], "run make schema-docs"

    async def test_changed_column_and_index_make_both_differ(self, owner_url: str) -> None:
        await change(owner_url, "ALTER TABLE holds ADD COLUMN colour text")
        assert differing(documents(await read(owner_url)), ROOT / "docs") == ["schema.dbml", "schema.md"]

    async def test_new_index_makes_the_dbml_differ(self, owner_url: str) -> None:
        await change(owner_url, "CREATE INDEX holds_amount_idx ON holds (lower(state)) WHERE amount_minor > 5")
        text = documents(await read(owner_url))["schema.dbml"]
        assert "(`lower(state)`) [name: 'holds_amount_idx', note: 'where (amount_minor > 5)']" in text

    async def test_table_that_no_diagram_names_is_refused(self, owner_url: str) -> None:
        await change(owner_url, "CREATE TABLE colours (id int)")
        with pytest.raises(UngroupedTableError, match="differ in colours"):
            documents(await read(owner_url))
