"""Watches against the whole service, and against a server that breaks them off."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import pytest
from bank.v1 import event_service_pb2 as pb
from bank.v1.event_service_pb2_grpc import EventServiceServicer, add_EventServiceServicer_to_server
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from client import watch
from client.bank import Bank
from client.connection import TRIES_MAX
from client.refusal import BankRefusal
from local.demo import DEMO_PASSWORD
from tests.client.test_bank import account_of, failure, signed_in_at
from tests.conftest import Stack

WITHIN_S = 10


class TestService:
    async def test_what_happens_is_told_and_a_second_watch_goes_on_after_it(self, stack: Stack) -> None:
        async with Bank.connect(stack.grpc_target) as alice:
            await alice.sign_in("alice", DEMO_PASSWORD)
            source, payee = await account_of(alice), await alice.payee("merchant", "USD")
            first = await anext(aiter(alice.watch("")))
            watched = alice.watch(types=["transfer.posted"])
            reading = asyncio.ensure_future(anext(watched))

            async def pay() -> str:
                paid = await alice.transfer(
                    source_account_id=source.id,
                    destination_account_id=payee.account_id,
                    amount_minor=1,
                    currency_code="USD",
                )
                return paid.transfer.id

            paid: list[str] = []
            async with asyncio.timeout(WITHIN_S):
                # What was paid before the watch was open is not told.
                while not reading.done():
                    paid.append(await pay())
                    await asyncio.wait({reading}, timeout=0.2)
            event = await reading
            paid.append(await pay())
            assert event.type == "transfer.posted"
            assert int(event.cursor) > int(first.cursor)
            following = paid[paid.index(event.subject_id) + 1]
            async with asyncio.timeout(WITHIN_S):
                assert (await anext(alice.watch(event.cursor))).subject_id == following
            await alice.sign_out()

    async def test_ended_session_ends_the_watch(self, stack: Stack) -> None:
        async with Bank.connect(stack.grpc_target) as bob:
            await bob.sign_in("bob", DEMO_PASSWORD)
            reading = asyncio.ensure_future(anext(bob.watch()))
            await asyncio.sleep(0.5)
            kept = bob.session
            await bob.sign_out()
            bob.session = kept
            with pytest.raises(BankRefusal) as refused:
                async with asyncio.timeout(WITHIN_S):
                    await reading
            assert refused.value.reason == "SESSION_REVOKED"


Step: TypeAlias = Any
"""A response, a status to end with, or seconds of silence."""


@dataclass
class Breaking(EventServiceServicer):
    """Answers each watch with the next script."""

    scripts: list[list[Step]] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Any) -> AsyncIterator[pb.WatchEventsResponse]:
        self.cursors.append(request.after_cursor)
        for step in self.scripts.pop(0):
            if isinstance(step, Status):
                await context.abort_with_status(rpc_status.to_status(step))
            elif isinstance(step, float):
                await asyncio.sleep(step)
            else:
                yield step


@pytest.fixture
async def breaking() -> AsyncIterator[tuple[Breaking, Bank]]:
    servicer, server = Breaking(), grpc.aio.server()
    add_EventServiceServicer_to_server(servicer, server)
    async with signed_in_at(server) as bank:
        yield servicer, bank


def event(cursor: str) -> pb.WatchEventsResponse:
    return pb.WatchEventsResponse(event=pb.Event(cursor=cursor))


def heartbeat(cursor: str) -> pb.WatchEventsResponse:
    return pb.WatchEventsResponse(heartbeat=pb.Heartbeat(cursor=cursor))


def end(cursor: str, reason: str) -> pb.WatchEventsResponse:
    return pb.WatchEventsResponse(end=pb.End(cursor=cursor, reason=f"END_REASON_{reason}"))


AWAY = failure(grpc.StatusCode.UNAVAILABLE, "OVERLOADED", 0.01)
REVOKED = failure(grpc.StatusCode.UNAUTHENTICATED, "SESSION_REVOKED")


async def told(bank: Bank, after_cursor: str = "now") -> tuple[list[str], str]:
    """The cursors of all events until the watch is refused, and why it was."""
    cursors: list[str] = []

    async def read() -> None:
        async with asyncio.timeout(WITHIN_S):
            async for each in bank.watch(after_cursor):
                cursors.append(each.cursor)

    with pytest.raises(BankRefusal) as refused:
        await read()
    return cursors, refused.value.reason


class TestBroken:
    async def test_watch_goes_on_after_the_last_cursor_whatever_ends_it(self, breaking: tuple[Breaking, Bank]) -> None:
        servicer, bank = breaking
        servicer.scripts = [
            [heartbeat("4"), event("7"), AWAY],
            [heartbeat("7"), event("8"), heartbeat("9"), end("9", "TOKEN_EXPIRED")],
            [pb.WatchEventsResponse(), end("9", "SERVER_STOPPING")],
            [end("10", "DATABASE_UNAVAILABLE")],
            [],
            [event("11"), REVOKED],
        ]
        assert await told(bank) == (["7", "8", "11"], "SESSION_REVOKED")
        assert servicer.cursors == ["now", "7", "9", "9", "10", "10"]

    async def test_failures_in_a_row_are_bounded_and_forgotten_once_something_is_heard(
        self, breaking: tuple[Breaking, Bank]
    ) -> None:
        servicer, bank = breaking
        few: list[list[Step]] = [[AWAY]] * (TRIES_MAX - 2)
        servicer.scripts = [*few, [heartbeat("1"), AWAY], *few, [event("2"), AWAY], *[[AWAY]] * TRIES_MAX]
        assert await told(bank) == (["2"], "OVERLOADED")
        assert len(servicer.scripts) == 1

    async def test_silent_connection_is_given_up(
        self, breaking: tuple[Breaking, Bank], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watch, "SILENCE_MAX_S", 1.0)
        servicer, bank = breaking
        servicer.scripts = [[event("1"), 60.0], [event("2"), REVOKED]]
        assert await told(bank, "") == (["1", "2"], "SESSION_REVOKED")
        assert servicer.cursors == ["", "1"]
