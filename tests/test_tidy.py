"""The rules of tools/tidy hold for this checkout, and each of them notices when it is broken."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.generate import ROOT
from tools.tidy import RULES
from tools.tidy.boundaries import BOUNDARIES, foundation, import_direction
from tools.tidy.code import environment_reads, imports_inside_functions, mocks, sizes, vague_names
from tools.tidy.sql import composed_sql, money_path, money_writes
from tools.tidy.text import download_addresses, leftover_markers

Rule = Callable[[Path], list[str]]

# Put together here, so that this file does not break the rules it tests.
HTTPS = "https" + "://"


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_checkout_keeps_the_rule(rule: Rule) -> None:
    assert rule(ROOT) == []


class TestBreaches:
    """A rule that finds nothing in a broken file would find nothing in ours either."""

    @pytest.mark.parametrize(
        ("rule", "file", "line"),
        [
            (import_direction, "server/jobs.py", "from worker.outbox import relay"),
            (import_direction, "server/users/operations.py", "import tests.conftest"),
            (import_direction, "server/users/operations.py", "from redis.asyncio import Redis"),
            (import_direction, "server/users/rpc.py", "import server.app"),
            (import_direction, "server/users/operations.py", "import grpc"),
            (import_direction, "server/users/operations.py", "from bank.v1 import user_service_pb2"),
            (import_direction, "server/database.py", "from grpc import aio"),
            (import_direction, "server/users/rpc.py", "import asyncpg"),
            (import_direction, "server/errors.py", "from server.caller import Role"),
            (import_direction, "server/users/operations.py", "from server.users.messages import render_user"),
            (import_direction, "server/users/messages.py", "from server.users import rpc"),
            (import_direction, "server/accounts/rpc.py", "from server.transfers import messages"),
            (import_direction, "server/ledger/writing.py", "from server.accounts.operations import Accounts"),
            (import_direction, "server/ledger/posting.py", "import asyncio"),
            (import_direction, "server/ledger/posting.py", "from bankdb.models import Account"),
            (import_direction, "worker/email.py", "from server.users.operations import UserOperations"),
            (import_direction, "worker/email.py", "import grpc"),
            (import_direction, "client/bank.py", "from bankdb import users"),
            (import_direction, "gateway/config.py", "from local.settings import ROOT"),
            (import_direction, "tools/generate.py", "from server.config import Settings"),
            (foundation, "server/database.py", "from server.ledger.writing import post"),
            (imports_inside_functions, "local/stack.py", "def start(): import os"),
            (imports_inside_functions, "tests/test_users.py", "async def test_a():\n    from server import errors"),
            (vague_names, "server/users/utils.py", ""),
            (vague_names, "worker/mail_helpers.py", ""),
            (vague_names, "server/users/rpc.py", "class SessionManager: ..."),
            (environment_reads, "server/keys.py", "import os; FILE = os.environ['TOKEN_KEYS_FILE']"),
            (environment_reads, "worker/settings.py", "import os; URL = os.getenv('REDIS_URL')"),
            (mocks, "tests/test_users.py", "from unittest.mock import AsyncMock"),
            (mocks, "tests/test_users.py", "from unittest import mock"),
            (mocks, "tests/test_users.py", "def test(monkeypatch): monkeypatch.setattr('server.database.now', 1)"),
            (
                mocks,
                "tests/a.py",
                "from server import jobs as j\ndef test(monkeypatch): monkeypatch.setattr(j, 'x', 1)",
            ),
            (mocks, "tests/a.py", "import server.jobs\ndef test(m): m.setattr(server.jobs.Job, 'x', 1)"),
            (mocks, "tests/a.py", "from server.jobs import TABLE\ndef test(m): m.setitem(TABLE, 'x', 1)"),
            (composed_sql, "server/users/operations.py", "def f(x): return f'SELECT * FROM users WHERE id = {x}'"),
            (composed_sql, "worker/outbox.py", "def f(x): return 'DELETE FROM outbox WHERE id = ' + x"),
            (composed_sql, "worker/outbox.py", "def f(x): return 'UPDATE outbox SET x = %s' % x"),
            (composed_sql, "worker/outbox.py", "def f(x): return 'INSERT INTO outbox VALUES ({})'.format(x)"),
        ],
        ids=lambda value: value.__name__ if callable(value) else "",
    )
    def test_breach_in_code_is_named_with_its_line(self, tmp_path: Path, rule: Rule, file: str, line: str) -> None:
        plant(tmp_path, {"server/users/rpc.py": "", "server/ledger/writing.py": "", file: f'"""Sample."""\n{line}\n'})
        expected = {"": 1}.get(line, 2 + line.count("\n"))
        complaints = rule(tmp_path)
        assert complaints
        assert all(complaint.startswith(f"{file}:{expected}: ") for complaint in complaints)

    def test_long_module_and_long_function_are_named(self, tmp_path: Path) -> None:
        plant(
            tmp_path,
            {
                "server/a.py": "x = 1\n" * 501,
                "server/b.py": "x = 1\n" * 500,
                "server/c.py": "async def long():\n" + "    x = 1\n" * 60,
                "server/d.py": "def short():\n" + "    x = 1\n" * 59,
            },
        )
        assert [complaint.split(": ")[0] for complaint in sizes(tmp_path)] == ["server/a.py:1", "server/c.py:1"]

    @pytest.mark.parametrize(
        "text",
        [
            f"{HTTPS}files.example/a/b-1.0-py3-none-any.whl#sha256=0",
            f"curl {HTTPS}files.example/a.tar.gz",
            f"{HTTPS}files.example/b.tgz",
            f"{HTTPS}files.example/c.crate",
            f"--index-{'url'} {HTTPS}files.example/packages",
            f"extra-index-{'url'} = {HTTPS}files.example/",
            f"PIP_INDEX_URL={HTTPS}files.example/",
            f"--find-links {HTTPS}files.example/",
            f"mirror {HTTPS}files.example/root/simple/",
            f'"resolved": "{HTTPS}files.example/c"',
            f"registry={HTTPS}files.example/",
            f"GOPROXY={HTTPS}files.example",
            f"deb [arch=amd64] {HTTPS}files.example/debian stable main",
        ],
    )
    def test_address_of_a_package_is_found_by_its_shape(self, tmp_path: Path, text: str) -> None:
        plant(tmp_path, {"docs/setup.md": f"Setup\n\n{text}\n"})
        assert [complaint.split(": ")[0] for complaint in download_addresses(tmp_path)] == ["docs/setup.md:3"]

    @pytest.mark.parametrize("text", ["# T_ODO later", "F_IXME", "-- X_XX why", "// X_XX"])
    def test_leftover_marker_is_found_in_any_file(self, tmp_path: Path, text: str) -> None:
        plant(tmp_path, {"db/queries/users.sql": "SELECT 1;\n" + text.replace("_", "") + "\n"})
        assert [complaint.split(": ")[0] for complaint in leftover_markers(tmp_path)] == ["db/queries/users.sql:2"]

    @pytest.mark.parametrize(
        "statement",
        [
            "LISTEN transfers;",
            "SELECT pg_notify('a', 'b');",
            "SELECT pg_advisory_xact_lock(1);",
            "SELECT pg_try_advisory_lock(1);",
            "SELECT txid_current();",
            "SELECT pg_snapshot_xmin(pg_current_snapshot());",
            "SELECT xmin FROM accounts;",
            "LOCK TABLE accounts;",
        ],
    )
    def test_single_machine_sql_on_the_path_of_the_money_is_named(self, tmp_path: Path, statement: str) -> None:
        plant(
            tmp_path,
            {
                "server/ledger/writing.py": "from bankdb import accounts\n",
                "worker/sequencer.py": "from bankdb import events\n",
                "db/queries/accounts.sql": f"-- name: A :exec\n-- No LISTEN here.\n{statement}\n",
                "db/queries/events.sql": f"-- name: B :exec\n{statement}\n",
                "db/migrations/0001_a.sql": f"{statement}\n",
            },
        )
        found = [complaint.split(": ")[0] for complaint in money_path(tmp_path)]
        assert set(found) == {"db/migrations/0001_a.sql:1", "db/queries/accounts.sql:3"}

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO transfers (id) VALUES ($1);",
            "WITH a AS (INSERT INTO entries SELECT 1) SELECT 1;",
            "UPDATE accounts\nSET\n    state = $1,\n    posted_minor = posted_minor + $2;",
        ],
    )
    def test_query_that_writes_money_is_for_the_ledger_only(self, tmp_path: Path, statement: str) -> None:
        plant(
            tmp_path,
            {
                "db/queries/accounts.sql": f"-- name: AddMoney :exec\n{statement}\n-- name: GetMoney :one\nSELECT 1;\n",
                "server/ledger/writing.py": "from bankdb import accounts\naccounts.add_money()\n",
                "server/accounts/operations.py": "from bankdb import accounts\naccounts.get_money(posted_minor=1)\n",
                "worker/tasks.py": "from bankdb import accounts\naccounts.add_money()\n",
                "local/seed.py": "from bankdb.accounts import add_money\n",
            },
        )
        found = [complaint.split(": ")[0] for complaint in money_writes(tmp_path)]
        assert found == ["worker/tasks.py:2", "local/seed.py:1"]


class TestAllowed:
    """What looks like a breach and is none."""

    def test_every_exception_names_a_file_that_exists(self) -> None:
        patterns = {pattern for boundary in BOUNDARIES for pattern in boundary.but}
        assert [pattern for pattern in patterns if not any(ROOT.glob(pattern))] == []

    def test_ordinary_code_is_left_alone(self, tmp_path: Path) -> None:
        plant(
            tmp_path,
            {
                "server/__init__.py": "",
                "server/config.py": "import os\nURL = os.environ['DATABASE_URL']\n",
                "server/database.py": "import asyncpg\nfrom server.errors import NotFound\n",
                "server/app.py": "import grpc\nfrom server.users import rpc\n",
                "server/users/rpc.py": "import grpc\nfrom server.users.messages import parse\n",
                "server/users/messages.py": "from bank.v1 import user_service_pb2\n",
                "server/users/operations.py": "def f(x): return f'Update {x}'\n",
                "server/ledger/writing.py": "import asyncpg\nfrom server.ledger.posting import evaluate\n",
                "server/ledger/posting.py": "from server.errors import NotFound\n",
                "worker/outbox.py": "from server.database import Database\nfrom server import jobs\n",
                "tests/a.py": "import sys\ndef test(monkeypatch): monkeypatch.setenv('A', 'b')\n",
                "tests/b.py": "def test(monkeypatch): monkeypatch.setattr('worker.email._TIMEOUT_S', 1)\n",
                "tests/c.py": "from worker import email\ndef test(m): m.setattr(email, 'TIMEOUT_S', 1)\n",
                "README.md": f"See {HTTPS}example.com/docs/index.html; a currency like XXX is unknown.\n",
                "requirements/base.txt": "grpcio==1.0 \\\n    --hash=sha256:00\n",
                "Makefile": "lock:\n\tuv pip compile --no-emit-index-url\n",
            },
        )
        assert [complaint for rule in RULES for complaint in rule(tmp_path)] == []
