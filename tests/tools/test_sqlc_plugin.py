"""tools/sqlc_plugin, run by sqlc itself; what it emits is type-checked and run on PostgreSQL."""

import importlib
import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import Database

ROOT = Path(__file__).resolve().parents[2]

SCHEMA = """
-- migrate:up
CREATE TYPE rack_state AS ENUM ('OPEN', 'being-sorted');
CREATE TABLE racks (
    id uuid PRIMARY KEY,
    state rack_state NOT NULL,
    previous_state rack_state,
    all_states rack_state[] NOT NULL,
    labels text[] NOT NULL,
    room varchar(20)
);
CREATE TABLE books (
    id uuid PRIMARY KEY,
    rack_id uuid REFERENCES racks (id),
    title text NOT NULL,
    pages integer NOT NULL,
    copies smallint NOT NULL,
    price_minor bigint NOT NULL,
    weight_kg numeric NOT NULL,
    thickness_cm double precision NOT NULL,
    language char(2) NOT NULL,
    lent boolean NOT NULL,
    lending_time interval NOT NULL,
    publish_date date NOT NULL,
    create_time timestamptz NOT NULL,
    attributes jsonb NOT NULL,
    cover bytea
);
COMMENT ON TABLE books IS 'Something to read.';
CREATE TABLE points (id uuid PRIMARY KEY, place point NOT NULL, grid bigint[][] NOT NULL);
-- migrate:down
DROP TABLE points;
DROP TABLE books;
DROP TABLE racks;
DROP TYPE rack_state;
"""

RACKS = """
-- name: InsertRack :exec
INSERT INTO racks (id, state, previous_state, all_states, labels, room)
VALUES (@id, @state, @previous_state, @all_states::rack_state[], @labels, @room);

-- name: GetRack :one
SELECT * FROM racks WHERE id = @rack_id;

-- name: GetRackState :one
SELECT state FROM racks WHERE id = @rack_id;

-- name: ListPreviousStates :many
SELECT previous_state FROM racks WHERE state = ANY(@states::rack_state[]);
"""

BOOKS = r'''
-- name: InsertBook :exec
INSERT INTO books (
    id, rack_id, title, pages, copies, price_minor, weight_kg, thickness_cm, language, lent,
    lending_time, publish_date, create_time, attributes, cover
) VALUES (
    @id, @rack_id, @title, @pages, @copies, @price_minor, @weight_kg, @thickness_cm, @language, @lent,
    @lending_time, @publish_date, @create_time, @attributes, @cover
);

-- name: GetBook :one
-- Read one book.
--
-- Careful: \ and "quotes" and three """ are text like any other, also at the "end"
SELECT * FROM books WHERE id = @book_id;

-- name: ListBooks :many
SELECT * FROM books WHERE sqlc.narg('before')::timestamptz IS NULL OR create_time < sqlc.narg('before')::timestamptz;

-- name: ListTitles :many
SELECT title FROM books ORDER BY title;

-- name: CountBooks :one
SELECT count(*) FROM books;

-- name: SumPrices :one
SELECT coalesce(sum(price_minor), 0)::bigint AS price_minor, max(title)::text AS last_title FROM books;

-- name: ListBooksWithRooms :many
SELECT books.title, racks.room, racks.labels FROM books LEFT JOIN racks ON racks.id = books.rack_id;

-- name: ListRacksOfBooks :many
SELECT racks.* FROM books LEFT JOIN racks ON racks.id = books.rack_id;

-- name: UpdateTitles :execrows
UPDATE books SET title = new.title
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@titles::text[]) AS title) AS new
WHERE books.id = new.id AND new.title IS NOT NULL;

-- name: DeleteBooks :execrows
DELETE FROM books WHERE id = ANY(@ids::uuid[]);
'''

RACK_ID, BOOK_ID, OTHER_ID = UUID(int=1), UUID(int=2), UUID(int=3)


def run_sqlc(folder: Path, queries: dict[str, str], package: str = "emitted") -> subprocess.CompletedProcess[str]:
    """Run sqlc with the project's own configuration on sample files; output goes to gen/<package>."""
    for name, text in {"migrations/0001_sample.sql": SCHEMA, **{f"queries/{k}": v for k, v in queries.items()}}.items():
        file = folder / "db" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    configuration = (ROOT / "db/sqlc.yaml").read_text()
    (folder / "db/sqlc.yaml").write_text(configuration.replace("gen/bankdb", f"gen/{package}"))
    (folder / "tools").mkdir(exist_ok=True)
    shutil.copy(ROOT / "tools/sqlc_plugin", folder / "tools/sqlc_plugin")
    scripts = sysconfig.get_path("scripts")
    return subprocess.run(
        [f"{scripts}/sqlc", "generate"],
        cwd=folder / "db",
        env={"PATH": f"{scripts}:/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The emitted package, importable while the tests of this module run."""
    folder = tmp_path_factory.mktemp("sqlc")
    result = run_sqlc(folder, {"racks.sql": RACKS, "books.sql": BOOKS}, "emitted_sample")
    assert result.returncode == 0, result.stderr
    sys.path.insert(0, str(folder / "gen"))
    yield folder / "gen" / "emitted_sample"
    sys.path.remove(str(folder / "gen"))


@pytest.fixture
def books(package: Path) -> ModuleType:
    return importlib.import_module(f"{package.name}.books")


@pytest.fixture
def racks(package: Path) -> ModuleType:
    return importlib.import_module(f"{package.name}.racks")


@pytest.fixture
def models(package: Path) -> ModuleType:
    return importlib.import_module(f"{package.name}.models")


@pytest.fixture
async def connection(database: Database) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to a database that has the sample's tables too."""
    opened = await asyncpg.connect(database.owner_url)
    await opened.execute(SCHEMA.partition("-- migrate:down")[0])
    yield opened
    await opened.close()


def book_fields(**changed: object) -> dict[str, Any]:
    return {
        "id": BOOK_ID,
        "rack_id": None,
        "title": "Momo",
        "pages": 304,
        "copies": 3,
        "price_minor": 2**53 + 1,
        "weight_kg": Decimal("0.35"),
        "thickness_cm": 2.5,
        "language": "de",
        "lent": False,
        "lending_time": timedelta(days=28),
        "publish_date": date(1973, 1, 1),
        "create_time": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "attributes": '{"colour": "grey"}',
        "cover": b"\x00\xff",
        **changed,
    }


class TestEmittedFunctions:
    async def test_every_type_comes_back_as_it_was_written(
        self, connection: "asyncpg.Connection[asyncpg.Record]", books: ModuleType, models: ModuleType
    ) -> None:
        await books.insert_book(connection, **book_fields())
        found = await books.get_book(connection, book_id=BOOK_ID)
        assert isinstance(found, models.Book)
        assert found._asdict() == book_fields()
        assert json.loads(found.attributes) == {"colour": "grey"}

    async def test_enums_and_arrays_come_back_as_members_and_lists(
        self, connection: "asyncpg.Connection[asyncpg.Record]", racks: ModuleType, models: ModuleType
    ) -> None:
        state = models.RackState
        rack = models.Rack(
            id=RACK_ID,
            state=state.BEING_SORTED,
            previous_state=None,
            all_states=[state.OPEN, state.BEING_SORTED],
            labels=["old", "heavy"],
            room=None,
        )
        await racks.insert_rack(connection, **rack._asdict())
        found = await racks.get_rack(connection, rack_id=RACK_ID)
        assert found == rack
        assert found.state is state.BEING_SORTED
        assert found.all_states[0] is state.OPEN
        assert await racks.get_rack_state(connection, rack_id=RACK_ID) is state.BEING_SORTED
        assert await racks.list_previous_states(connection, states=[state.BEING_SORTED]) == [None]

    async def test_one_without_a_row_returns_none(
        self, connection: "asyncpg.Connection[asyncpg.Record]", books: ModuleType, racks: ModuleType
    ) -> None:
        assert await books.get_book(connection, book_id=OTHER_ID) is None
        assert await racks.get_rack_state(connection, rack_id=OTHER_ID) is None

    async def test_many_returns_rows_scalars_and_an_empty_list(
        self, connection: "asyncpg.Connection[asyncpg.Record]", books: ModuleType
    ) -> None:
        assert await books.list_books(connection, before=None) == []
        await books.insert_book(connection, **book_fields())
        await books.insert_book(connection, **book_fields(id=OTHER_ID, title="Die Wand", cover=None))
        assert await books.list_titles(connection) == ["Die Wand", "Momo"]
        assert {book.id for book in await books.list_books(connection, before=None)} == {BOOK_ID, OTHER_ID}
        assert await books.list_books(connection, before=datetime(2020, 1, 1, tzinfo=UTC)) == []

    async def test_aggregates_and_outer_joins_return_rows_of_their_own(
        self, connection: "asyncpg.Connection[asyncpg.Record]", books: ModuleType
    ) -> None:
        await books.insert_book(connection, **book_fields(price_minor=5))
        assert await books.count_books(connection) == 1
        assert await books.sum_prices(connection) == books.SumPricesRow(price_minor=5, last_title="Momo")
        assert await books.list_books_with_rooms(connection) == [books.ListBooksWithRoomsRow("Momo", None, None)]
        # All columns of a table, yet not its row: on the outer side of a join each may be missing.
        assert await books.list_racks_of_books(connection) == [books.ListRacksOfBooksRow(*[None] * 6)]

    async def test_execrows_returns_the_number_of_rows_and_lists_may_hold_none(
        self, connection: "asyncpg.Connection[asyncpg.Record]", books: ModuleType
    ) -> None:
        await books.insert_book(connection, **book_fields())
        await books.insert_book(connection, **book_fields(id=OTHER_ID))
        assert await books.update_titles(connection, ids=[BOOK_ID, OTHER_ID], titles=["Jim Knopf", None]) == 1
        assert await books.delete_books(connection, ids=[BOOK_ID, OTHER_ID]) == 2
        assert await books.delete_books(connection, ids=(BOOK_ID,)) == 0

    async def test_pool_and_lent_connection_serve_as_well(
        self, connection: "asyncpg.Connection[asyncpg.Record]", database: Database, books: ModuleType
    ) -> None:
        async with asyncpg.create_pool(database.owner_url, min_size=1, max_size=1) as pool:
            assert await books.count_books(pool) == 0
            async with pool.acquire() as lent:
                assert await books.count_books(lent) == 0


class TestEmittedSource:
    def test_source_passes_strict_type_check(self, package: Path, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(package)]
        result = subprocess.run(command, cwd=package.parent, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout

    def test_asyncpg_types_are_accepted_and_wrong_arguments_are_not(self, package: Path, tmp_path: Path) -> None:
        caller = tmp_path / "caller.py"
        caller.write_text(
            "import asyncpg\nfrom uuid import UUID\nfrom emitted_sample import books\n"
            "async def right(c: asyncpg.Connection[asyncpg.Record], p: asyncpg.Pool[asyncpg.Record]) -> None:\n"
            "    await books.count_books(c)\n"
            "    await books.count_books(p)\n"
            "    async with p.acquire() as lent:\n"
            "        await books.update_titles(lent, ids=[UUID(int=1)], titles=['Momo', None])\n"
            "async def wrong(c: asyncpg.Connection[asyncpg.Record]) -> None:\n"
            "    await books.get_book(c, book_id='1')\n"
            "    await books.get_book(c, UUID(int=1))\n"
        )
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(caller)]
        result = subprocess.run(command, cwd=package.parent, capture_output=True, text=True, check=False)
        complaints = [line.split(":")[1] for line in result.stdout.splitlines() if ": error:" in line]
        assert set(complaints) == {"10", "11"}, result.stdout

    def test_comments_of_a_query_become_its_docstring(self, books: ModuleType) -> None:
        assert books.get_book.__doc__ is not None
        first, _, rest = books.get_book.__doc__.partition("\n")
        assert first == "Read one book."
        assert '\\ and "quotes" and three """ are text like any other, also at the "end"' in rest
        assert books.list_titles.__doc__ is None

    def test_table_comment_becomes_the_docstring_of_its_row(self, models: ModuleType) -> None:
        assert models.Book.__doc__ == "Something to read."

    def test_sql_is_a_constant_that_begins_with_the_query_name(self, books: ModuleType) -> None:
        assert books.COUNT_BOOKS == "-- name: CountBooks :one\nSELECT count(*) FROM books\n"

    def test_rows_cannot_be_changed(self, models: ModuleType) -> None:
        book = models.Book(**book_fields())
        with pytest.raises(AttributeError):
            book.title = "other"
        with pytest.raises(AttributeError):
            book.subtitle = "another"

    def test_only_tables_and_enums_in_use_are_emitted(self, models: ModuleType) -> None:
        assert not hasattr(models, "Point")


class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "complaint"),
        [
            ("GetPlace :one\nSELECT place FROM points", ", column place: unknown type 'point': cast it"),
            ("GetSum :one\nSELECT count(*) + 1 FROM points", ", column 1: it has no name: add AS name"),
            ("ListPlaces :many\nSELECT id, 1 AS class FROM points", ", column class: 'class' cannot be a name here"),
            ("ListTwice :many\nSELECT id, id FROM points", ", columns: two are called 'id'"),
            ("ListBoth :many\nSELECT sqlc.embed(points) FROM points", ", column points: sqlc.embed is not supported"),
            ("GetGrid :one\nSELECT grid FROM points", ", column grid: arrays of more than one dimension"),
            ("DropPoints :execresult\nDELETE FROM points", ": :execresult is not supported: use one of :one,"),
            (
                "MergePoints :many\nMERGE INTO points USING books ON points.id = books.id WHEN MATCHED THEN DELETE",
                ": :many without a column: add RETURNING",
            ),
            ("FindPoint :one\nSELECT id FROM points WHERE id = @conn", ", parameter $1: 'conn' cannot be a name"),
            ("FindPoints :many\nSELECT id FROM points WHERE id IN ($1, $2)", ", parameters: two are called 'id'"),
        ],
    )
    def test_what_is_not_understood_stops_the_run_naming_file_query_and_place(
        self, tmp_path: Path, query: str, complaint: str
    ) -> None:
        result = run_sqlc(tmp_path, {"points.sql": f"-- name: {query};\n"})
        assert result.returncode != 0
        assert f"points.sql: query {query.split(' ')[0]}{complaint}" in result.stderr
        assert not (tmp_path / "gen").exists()

    def test_query_file_may_not_take_the_name_of_the_models(self, tmp_path: Path) -> None:
        result = run_sqlc(tmp_path, {"models.sql": "-- name: CountBooks :one\nSELECT count(*) FROM books;\n"})
        assert result.returncode != 0
        assert "models.sql: rename it" in result.stderr
