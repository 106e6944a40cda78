"""Every RPC of the contract, called by every kind of caller about their own, another's and an absent thing.

The answers stand in access_matrix.md. After a change of the contract write it anew, and read what changed in it:

    WRITE_ACCESS_MATRIX=1 python -m pytest tests/e2e/test_access_matrix.py -k TestCalls
"""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.access_matrix import (
    CALLERS,
    CALLS,
    PROVING_NOTHING,
    STAFF,
    Cell,
    Key,
    Whose,
    keys_of,
    read_table,
    rpcs_of_the_contract,
    write_table,
)
from tests.e2e.conftest import Bank
from tests.e2e.stage import Stage
from tests.e2e.wire import Answer, Fields, GrpcWire, as_protobuf_json, read_reply
from tests.envoy.gateway import Reply

WRITING = bool(os.environ.get("WRITE_ACCESS_MATRIX"))
BY_SECRET = {
    "CreateSession",
    "RefreshSession",
    "VerifyEmail",
    "ResetPassword",
    "ResendVerificationEmail",
    "RequestPasswordReset",
}
"""Calls that say nothing of a caller: a secret or an address is all they go by."""
SHOWN = {"GetProduct", "UpdateProduct", "ArchiveProduct", "AdjustInventory", "ListInventoryMovements"}
"""Calls about what everybody who is signed in may see, so that it is no secret that it is there."""
UNCOUNTED = (
    *("schema_migrations", "audit_events", "sign_in_throttles", "rate_limits", "ledger_blocks"),
    *("webhook_feed", "webhook_deliveries"),
)
"""Tables that record refusals, or that the worker writes when it gets round to it."""
LIVING = {"webhooks": " WHERE delete_time IS NULL"}
"""Rows that the worker removes in its own time when they are deleted count only until then."""
TIMED_HEADERS = {"x-request-id", "date", "x-envoy-upstream-service-time"}


@pytest.fixture(scope="module")
async def stage(bank: Bank) -> Stage:
    return Stage(bank)


@pytest.fixture(scope="module")
async def third(stage: Stage) -> str:
    """An account of somebody who has nothing to do with any call."""
    return await stage.account(await stage.someone(), 0)


@pytest.fixture(scope="module")
def written() -> Iterator[dict[Key, str]]:
    """Answers for a new table."""
    answers: dict[Key, str] = {}
    yield answers
    if WRITING:
        write_table(answers)


def told(reply: Reply) -> str:
    """The code of an answer, and the reason where that is another word."""
    if reply.status == 200:
        return "OK"
    answer = read_reply(reply)
    return answer.code if answer.reason == answer.code else f"{answer.code} {answer.reason}"


def blotted(reply: Reply, call: "Prepared") -> tuple[str, list[tuple[str, str]]]:
    """Body and headers without the trace id, the caller's own id and what the caller sent.

    Each process writes the keys of a map in an order of its own, so they are sorted here.
    """
    body = json.dumps(reply.json(), sort_keys=True)
    sent = re.findall(r'"([^"]{8,})"', json.dumps(call.fields))
    for text in (reply.headers["x-request-id"], str(call.cell.caller.user_id), *sent):
        body = body.replace(text, "-")
    headers = [(name, value) for name, value in reply.headers.items() if name.lower() not in TIMED_HEADERS]
    return body, sorted(headers)


async def stored(bank: Bank) -> dict[str, Any]:
    """How many rows each table has, and all that may change in place."""
    tables = await bank.owner.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " AND NOT relname = ANY ($1)",
        UNCOUNTED,
    )
    names = [table["relname"] for table in tables]
    counts = ", ".join(f"(SELECT count(*) FROM {name}{LIVING.get(name, '')}) AS {name}" for name in names)
    changing = (
        *("users", "sessions", "accounts", "holds", "scheduled_transfers", "mail_tokens", "refresh_tokens"),
        *("products", "orders", "order_items"),
    )
    # The worker forgets the successor of a token half a minute after it was used; when that was is never changed.
    row = "(to_jsonb(t) - 'successor_ciphertext')::text"
    digests = ", ".join(
        f"(SELECT md5(string_agg({row}, ',' ORDER BY {row})) FROM {name} AS t) AS rows_of_{name}" for name in changing
    )
    return dict(await bank.owner.fetchrow(f"SELECT {counts}, {digests}"))


class Prepared:
    """A call that is ready to be made."""

    def __init__(self, cell: Cell, fields: Fields, token: str) -> None:
        self.cell = cell
        self.fields = fields
        self.token = token

    @classmethod
    async def of(cls, stage: Stage, key: Key, third: str) -> "Prepared":
        name, whose, kind = key
        roles = (kind.upper(),) if kind in ("merchant", *STAFF) else ()
        caller = await stage.someone(*roles)
        owner = await stage.someone() if whose == Whose.ANOTHERS else caller
        cell = Cell(stage, kind, Whose(whose), caller, owner, third)
        fields = await CALLS[name].build(cell)
        return cls(cell, fields, await stage.dress(caller, kind))


class TestTable:
    def test_every_rpc_is_called(self) -> None:
        missing = rpcs_of_the_contract() - {call.rpc for call in CALLS.values()}
        assert not missing, (
            f"nobody says how {', '.join(sorted(missing))} is called: enter it in tests/e2e/access_matrix.py,"
            " write the table anew as test_access_matrix.py says, and read its new rows"
        )
        assert {call.rpc for call in CALLS.values()} == rpcs_of_the_contract()

    def test_every_call_has_its_row_and_no_row_is_left_over(self) -> None:
        expected = {key for name in CALLS for key in keys_of(name)}
        missing = sorted({f"{name} ({whose})" for name, whose, _ in expected ^ read_table().keys()})
        assert missing == [], "write the table anew as test_access_matrix.py says, and read its new rows"

    def test_who_proves_nothing_is_answered_like_nobody(self) -> None:
        table = read_table()
        for name, whose, kind in table:
            if kind in PROVING_NOTHING:
                assert table[name, whose, kind] == table[name, whose, "nobody"], (name, whose, kind)

    def test_what_is_anothers_opens_to_nobody_without_a_part_in_it(self) -> None:
        table = read_table()
        opened = {
            name
            for (name, whose, kind), answer in table.items()
            if whose == Whose.ANOTHERS and answer == "OK" and kind not in ("party", *STAFF)
        }
        assert opened <= BY_SECRET | {"GetProduct", "GetPayee"}

    def test_disabled_user_is_let_in_nowhere(self) -> None:
        table = read_table()
        public = {name for (name, _, kind), answer in table.items() if kind == "nobody" and answer == "OK"}
        for (name, _, kind), answer in table.items():
            if kind == "disabled" and name not in public:
                assert answer.startswith("UNAUTHENTICATED"), name


class TestCalls:
    @pytest.mark.parametrize("name", CALLS)
    async def test_every_caller_is_answered_as_the_table_says(
        self, bank: Bank, stage: Stage, third: str, direct: GrpcWire, written: dict[Key, str], name: str
    ) -> None:
        rpc, table = CALLS[name].rpc, read_table()
        calls = {key: await Prepared.of(stage, key, third) for key in keys_of(name)}
        replies: dict[Key, Reply] = {}

        async def ask(key: Key) -> Answer | None:
            call = calls[key]
            replies[key] = await bank.json.send(rpc, call.fields, call.token)
            return read_reply(replies[key]) if replies[key].status != 200 else None

        refused = [key for key in calls if table.get(key) != "OK" and not WRITING]
        await bank.idle()
        before = await stored(bank)
        for key in refused:
            answer = await ask(key)
            for wire in (bank.grpc, direct):
                other = await wire.call(rpc, as_protobuf_json(calls[key].fields), calls[key].token)
                assert other == answer, (key, wire)
        assert await stored(bank) == before
        for key in calls.keys() - set(refused):
            await ask(key)
        answers = {key: told(reply) for key, reply in replies.items()}
        written.update(answers)
        if WRITING:
            return
        assert answers == {key: table[key] for key in calls}
        for kind in CALLERS:
            hidden, absent = (name, Whose.ANOTHERS, kind), (name, Whose.ABSENT, kind)
            if not {hidden, absent} <= calls.keys() or answers[hidden] == "OK" or name in SHOWN:
                continue
            # Staff, and the other party, may be told why not; nobody else may learn that there is something.
            if kind not in ("party", *STAFF) or answers[hidden] == "NOT_FOUND":
                told_of_hidden, told_of_absent = (blotted(replies[key], calls[key]) for key in (hidden, absent))
                assert told_of_hidden == told_of_absent, kind
