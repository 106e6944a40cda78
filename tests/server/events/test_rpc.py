"""bank.v1.EventService over a real channel: who is told of what, from which cursor on, and how a watch ends."""

import asyncio
import json
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from bank.v1.event_service_pb2 import ListEventsRequest, StreamEventsRequest, WatchEventsRequest
from bank.v1.session_service_pb2 import RevokeSessionRequest
from bank.v1.session_service_pb2_grpc import SessionServiceStub
from bank.v1.user_service_pb2 import DisableUserRequest, Role, SetUserRolesRequest
from bank.v1.user_service_pb2_grpc import UserServiceStub

from server.events.hub import WATCHES_OF_USER_MAX
from server.tokens import AccessTokens
from tests.server.bank import Bank, Person, movement
from tests.server.bank_server import refusal_of
from tests.server.events.conftest import Feed, until
from tests.server.identity import bearer

INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
UNAUTHENTICATED = ("UNAUTHENTICATED", "UNAUTHENTICATED")


@pytest.fixture
def bank(feed: Feed) -> Bank:
    return feed.served.bank


async def pay(bank: Bank, payer: Person, source: UUID, destination: UUID, amount_minor: int = 1) -> None:
    await bank.ledger.post(movement(payer, source, destination, amount_minor, description="rent"))


async def opened_when_there_is_room(feed: Feed, who: Person) -> Any:
    """A watch that is opened soon, once the server has noticed that another one ended."""
    async with asyncio.timeout(5):
        while True:
            call = feed.open(feed.served.signed_in(who))
            try:
                await anext(aiter(call))
                return call
            except grpc.aio.AioRpcError as refused:
                if refused.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                await asyncio.sleep(0.05)


class TestListEvents:
    async def test_pages_follow_each_other_without_gap_or_repeat(self, feed: Feed, bank: Bank) -> None:
        alice, admin = await bank.person(), await bank.person(roles=("DEPOSITOR", "ADMIN"))
        source, other = await bank.account(alice, 100), await bank.account(await bank.person())
        for _ in range(9):
            await pay(bank, alice, source, other)
        count = await feed.sequenced()
        seen: list[str] = []
        cursor, complete = "", False
        while not complete:
            events, cursor, complete = await feed.list(admin, after=cursor, size=3)
            assert len(events) == 3 or complete
            seen += [event.cursor for event in events]
        assert seen == [str(position) for position in range(1, count + 1)]
        assert cursor == str(count)
        assert await feed.list(admin, after=cursor) == ([], cursor, True)

    async def test_both_parties_are_told_and_nobody_else(self, feed: Feed, bank: Bank) -> None:
        alice, bob, eve, banker = [await bank.person() for _ in range(3)] + [await bank.banker()]
        source, destination = await bank.account(alice), await bank.account(bob)
        await bank.deposit(banker, source, 100)
        await bank.ledger.post(
            movement(alice, source, destination, 30, description="rent", reference="may", request_id=uuid4())
        )
        await feed.sequenced()
        (deposit, sent), _, _ = await feed.list(alice)
        (received,), _, _ = await feed.list(bob)
        assert (deposit.type, sent.type, received.type) == ("transfer.posted",) * 3
        assert sent.cursor == received.cursor
        assert sent.transfer_posted.reference == "may"
        assert sent.transfer_posted.request_id
        told = received.transfer_posted
        assert (told.amount_minor, told.description, told.source_account_id) == (30, "rent", str(source))
        assert (told.request_id, told.reference, dict(told.metadata)) == ("", "", {})
        # Who deposited it is no party to it, and the payer is not told how the banker calls it.
        assert deposit.transfer_posted.request_id == ""
        assert (await feed.list(banker))[0] == []
        assert (await feed.list(eve))[0] == []

    async def test_admin_is_told_everything(self, feed: Feed, bank: Bank) -> None:
        alice, admin = await bank.person(), await bank.person(roles=("ADMIN", "DEPOSITOR"))
        source, destination = await bank.account(alice, 100), await bank.account(await bank.person())
        await bank.ledger.post(movement(alice, source, destination, 30, reference="may"))
        await feed.sequenced()
        events, _, _ = await feed.list(admin)
        assert events[-1].transfer_posted.reference == "may"
        assert events[-1].transfer_posted.request_id

    async def test_transfer_between_own_accounts_is_told_once(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        source, second = await bank.account(alice, 100), await bank.account(alice)
        await pay(bank, alice, source, second)
        await feed.sequenced()
        events, _, _ = await feed.list(alice)
        assert [event.transfer_posted.kind for event in events] == [2, 1]

    async def test_types_are_picked_out_however_rare(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        await bank.pool.execute(
            "INSERT INTO events (type, subject_id, user_id)"
            " SELECT CASE WHEN n = 1700 THEN 'user.enabled' ELSE 'user.disabled' END, $1, $1"
            " FROM generate_series(1, 3000) AS n",
            alice.user_id,
        )
        await feed.sequenced()
        events, cursor, complete = await feed.list(alice, "user.enabled", "hold.created")
        assert ([event.cursor for event in events], cursor, complete) == (["1700"], "3000", True)

    async def test_now_gives_a_cursor_to_begin_with(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        await bank.account(alice, 100)
        count = await feed.sequenced()
        assert await feed.list(alice, after="now") == ([], str(count), True)

    @pytest.mark.parametrize(
        ("fields", "wrong"),
        [
            ({"after_cursor": "x"}, "after_cursor"),
            ({"after_cursor": "-1"}, "after_cursor"),
            ({"after_cursor": "1.5"}, "after_cursor"),
            ({"after_cursor": "٣"}, "after_cursor"),
            ({"after_cursor": "9" * 30}, "after_cursor"),
            ({"after_cursor": "9" * 5000}, "after_cursor"),
            ({"after_cursor": "1"}, "after_cursor"),
            ({"types": ["transfer"]}, "types"),
            ({"page_size": -1}, "page_size"),
        ],
    )
    async def test_refusal_names_the_field(self, feed: Feed, bank: Bank, fields: dict[str, object], wrong: str) -> None:
        metadata = feed.served.signed_in(await bank.person())
        refusal = await refusal_of(feed.stub.ListEvents(ListEventsRequest(**fields), metadata=metadata))  # type: ignore[arg-type]
        assert (refusal.why, refusal.fields) == (INVALID, [wrong])

    async def test_caller_must_be_known(self, feed: Feed) -> None:
        assert (await refusal_of(feed.stub.ListEvents(ListEventsRequest()))).why == UNAUTHENTICATED


class TestWatchEvents:
    async def test_past_is_told_first_then_what_happens(self, feed: Feed, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        await feed.sequenced()
        async with feed.watching(alice) as watcher:
            await watcher.has(1)
            await pay(bank, alice, source, destination)
            await watcher.has(2)
            await pay(bank, alice, source, destination)
            await watcher.has(3)
        listed, _, _ = await feed.list(alice)
        assert watcher.messages[0].heartbeat.cursor == "0"
        assert watcher.events == listed

    async def test_now_leaves_the_past_out(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(await bank.person())
        count = await feed.sequenced()
        async with feed.watching(alice, after="now") as watcher:
            assert watcher.messages[0].heartbeat.cursor == str(count)
            await pay(bank, alice, source, destination)
            await watcher.has(1)
        assert watcher.cursors == [count + 1]

    async def test_each_watcher_is_told_what_is_theirs(self, feed: Feed, bank: Bank) -> None:
        alice, bob, eve = [await bank.person() for _ in range(3)]
        admin = await bank.person(roles=("ADMIN", "DEPOSITOR"))
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        await feed.sequenced()
        async with (
            feed.watching(alice, after="now") as payer,
            feed.watching(bob, after="now") as payee,
            feed.watching(eve, after="now") as stranger,
            feed.watching(admin, after="now") as everything,
            feed.watching(alice, "hold.created", after="now") as picky,
        ):
            await bank.ledger.post(movement(alice, source, destination, 30, reference="may"))
            await asyncio.gather(payer.has(1), payee.has(1), everything.has(1))
            assert [each.events[0].transfer_posted.reference for each in (payer, payee, everything)] == [
                "may",
                "",
                "may",
            ]
            assert (stranger.events, picky.events) == ([], [])

    async def test_watch_goes_on_where_another_broke(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(await bank.person())
        cursors: list[int] = []
        after = ""
        for round_number in range(3):
            async with feed.watching(alice, after=after) as watcher:
                await pay(bank, alice, source, destination)
                await until(lambda: len(watcher.events) >= (2 if round_number == 0 else 1))  # noqa: B023 - run at once
            # More may have come until it was closed.
            after = watcher.last_cursor
            cursors += watcher.cursors
            if round_number < 2:
                await pay(bank, alice, source, destination)
                await feed.sequenced()
        await feed.sequenced()
        async with feed.watching(alice, after=after) as watcher:
            await until(lambda: len(cursors + watcher.cursors) >= 6)
            await asyncio.sleep(0.2)
        cursors += watcher.cursors
        assert cursors == [int(event.cursor) for event in (await feed.list(alice))[0]]
        assert len(cursors) == 6

    async def test_transaction_held_open_loses_nothing(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        insert = "INSERT INTO events (type, subject_id, user_id) VALUES ($1, $2, $2)"
        async with feed.watching(alice) as watcher, bank.pool.acquire() as slow:
            transaction = slow.transaction()
            await transaction.start()
            await slow.execute(insert, "user.disabled", alice.user_id)
            for number in range(3):
                await bank.pool.execute(insert, "user.enabled", alice.user_id)
                await watcher.has(number + 1)
            await transaction.commit()
            await watcher.has(4)
        assert [event.type for event in watcher.events] == [*("user.enabled",) * 3, "user.disabled"]
        assert watcher.cursors == [1, 2, 3, 4]
        assert int(watcher.events[3].id) < int(watcher.events[0].id)

    async def test_ten_thousand_events_are_replayed_as_they_stand_in_the_table(self, feed: Feed, bank: Bank) -> None:
        admin = await bank.person(roles=("ADMIN", "DEPOSITOR"))
        await bank.pool.execute(
            "INSERT INTO events (type, subject_id, user_id)"
            " SELECT (ARRAY['user.disabled', 'user.enabled', 'user.created'])[1 + n % 3], $1, $1"
            " FROM generate_series(1, 10000) AS n",
            admin.user_id,
        )
        await feed.sequenced()
        async with feed.watching(admin) as watcher:
            await watcher.has(10_000)
        rows = await bank.pool.fetch("SELECT position, id, type, subject_id FROM events ORDER BY position")
        assert [(event.cursor, event.id, event.type, event.subject_id) for event in watcher.events] == [
            (str(row["position"]), str(row["id"]), row["type"], str(row["subject_id"])) for row in rows
        ]

    async def test_type_nobody_knows_is_told_without_facts(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        await bank.pool.execute(
            "INSERT INTO events (type, subject_id, user_id) VALUES ('moon.landed', $1, $1), ('user.landed', $1, $1)",
            alice.user_id,
        )
        async with feed.watching(alice) as watcher:
            await watcher.has(2)
        assert [(event.type, event.WhichOneof("payload")) for event in watcher.events] == [
            ("moon.landed", None),
            ("user.landed", None),
        ]

    async def test_refusals_come_before_the_first_message(self, feed: Feed, bank: Bank) -> None:
        metadata = feed.served.signed_in(await bank.person())
        for fields, wrong in (
            ({"after_cursor": "x"}, "after_cursor"),
            ({"after_cursor": "7"}, "after_cursor"),
            ({"types": ["x"]}, "types"),
        ):
            for call, request in (
                (feed.stub.WatchEvents, WatchEventsRequest(**fields)),  # type: ignore[arg-type]
                (feed.stub.StreamEvents, StreamEventsRequest(**fields)),  # type: ignore[arg-type]
            ):
                refusal = await refusal_of(anext(aiter(call(request, metadata=metadata))))
                assert (refusal.why, refusal.fields) == (INVALID, [wrong])
                refusal = await refusal_of(anext(aiter(call(request))))
                assert refusal.why == UNAUTHENTICATED

    async def test_watches_of_one_user_are_limited(self, feed: Feed, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        calls = [feed.open(feed.served.signed_in(alice)) for _ in range(WATCHES_OF_USER_MAX)]
        await asyncio.gather(*(anext(aiter(call)) for call in calls))
        one_more = feed.open(feed.served.signed_in(alice))
        refusal = await refusal_of(anext(aiter(one_more)))
        assert refusal.why == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
        async with feed.watching(bob):
            calls[0].cancel()
            calls.append(await opened_when_there_is_room(feed, alice))
        for call in calls:
            call.cancel()


class TestVisibility:
    @pytest.mark.parametrize("seed", range(3))
    async def test_each_reader_is_told_what_the_table_has_of_them(self, feed: Feed, bank: Bank, seed: int) -> None:
        choice = random.Random(seed)
        people = [await bank.person() for _ in range(4)]
        readers = [*people, await bank.person(roles=("ADMIN", "DEPOSITOR")), await bank.banker()]
        ids = [None, *(person.user_id for person in people)]
        types = ["user.enabled", "user.disabled", "account.frozen", "transfer.posted"]

        async def write(count: int) -> None:
            await bank.pool.executemany(
                "INSERT INTO events (type, subject_id, user_id, counterparty_user_id)"
                " VALUES ($1, gen_random_uuid(), $2, $3)",
                [(choice.choice(types), choice.choice(ids), choice.choice(ids)) for _ in range(count)],
            )

        await write(300)
        wanted = [choice.sample(types, choice.randrange(3)) for _ in readers]
        async with AsyncExitStack() as stack:
            watchers = [
                await stack.enter_async_context(feed.watching(reader, *picked))
                for reader, picked in zip(readers, wanted, strict=True)
            ]
            for _ in range(10):
                await write(choice.randrange(1, 60))
                await asyncio.sleep(choice.random() * 0.1)
            await feed.sequenced()
            rows = await bank.pool.fetch("SELECT * FROM events ORDER BY position")
            expected = [
                [
                    row["position"]
                    for row in rows
                    if (number == 4 or reader.user_id in (row["user_id"], row["counterparty_user_id"]))
                    and (not picked or row["type"] in picked)
                ]
                for number, (reader, picked) in enumerate(zip(readers, wanted, strict=True))
            ]
            await until(
                lambda: all(
                    len(watcher.events) >= len(theirs) for watcher, theirs in zip(watchers, expected, strict=True)
                )
            )
            await asyncio.sleep(0.1)
        for reader, picked, watcher, theirs in zip(readers, wanted, watchers, expected, strict=True):
            assert watcher.cursors == theirs
            listed, cursor, complete = [], "", False
            while not complete:
                page, cursor, complete = await feed.list(reader, *picked, after=cursor, size=choice.randrange(1, 200))
                listed += [int(event.cursor) for event in page]
            assert listed == theirs


class TestEnd:
    async def test_token_that_expires_ends_the_watch(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        tokens = AccessTokens(feed.served.keys, "paseto", 2)
        token, expire_time = tokens.issue(alice.user_id, alice.session_id, datetime.now(UTC))
        async with feed.watching(alice, metadata=bearer(token)) as watcher:
            await until(lambda: watcher.end, 6)
            assert -0.1 < (datetime.now(UTC) - expire_time).total_seconds() < 1.5
        assert (watcher.end, len(watcher.messages)) == ("END_REASON_TOKEN_EXPIRED", 2)

    async def test_revoked_session_ends_its_watches_and_no_others(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        delays = []
        # A machine that is busy with other things may be late once or twice.
        while not delays or (delays[-1] > 1 and len(delays) < 3):
            second = Person(alice.user_id, uuid4())
            await bank.sign_in(second)
            async with feed.watching(alice) as other, feed.watching(second) as watcher:
                sessions = SessionServiceStub(feed.served.channel)
                request = RevokeSessionRequest(session_id=str(second.session_id))
                await sessions.RevokeSession(request, metadata=feed.served.signed_in(alice))
                began = monotonic()
                await until(lambda: watcher.end)
                delays.append(monotonic() - began)
                await asyncio.sleep(0.6)
                assert (watcher.end, other.end) == ("END_REASON_SESSION_ENDED", "")
        assert min(delays) < 1

    async def test_disabled_user_is_told_nothing_more(self, feed: Feed, bank: Bank) -> None:
        alice, admin = await bank.person(), await bank.person(roles=("ADMIN", "DEPOSITOR"))
        async with feed.watching(alice) as watcher:
            request = DisableUserRequest(user_id=str(alice.user_id))
            await UserServiceStub(feed.served.channel).DisableUser(request, metadata=feed.served.signed_in(admin))
            await until(lambda: watcher.end, 5)
        assert watcher.end == "END_REASON_SESSION_ENDED"

    async def test_lost_role_ends_the_watch(self, feed: Feed, bank: Bank) -> None:
        admin, chief = [await bank.person(roles=("ADMIN", "DEPOSITOR")) for _ in range(2)]
        async with feed.watching(admin, after="now") as watcher, feed.watching(chief, after="now") as other:
            request = SetUserRolesRequest(user_id=str(admin.user_id), roles=[Role.ROLE_DEPOSITOR])
            await UserServiceStub(feed.served.channel).SetUserRoles(request, metadata=feed.served.signed_in(chief))
            await until(lambda: watcher.end, 5)
            await other.has(1)
            assert other.events[0].user_roles_changed.roles == [Role.ROLE_DEPOSITOR]
            assert other.end == ""
        assert watcher.end == "END_REASON_ROLES_CHANGED"

    async def test_stopping_server_ends_watches_with_the_cursor_to_go_on_from(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        await bank.account(alice, 100)
        count = await feed.sequenced()
        async with feed.watching(alice) as watcher:
            await watcher.has(1)
            feed.served.watches.stop()
            await until(lambda: watcher.end, 5)
            async with feed.watching(alice, after=watcher.last_cursor) as late:
                await until(lambda: late.end, 5)
        assert (watcher.end, watcher.last_cursor) == ("END_REASON_SERVER_STOPPING", str(count))
        assert (late.end, late.last_cursor) == ("END_REASON_SERVER_STOPPING", str(count))


class TestStreamEvents:
    async def test_messages_are_server_sent_events(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        await bank.account(alice, 100)
        await feed.sequenced()
        call = feed.stub.StreamEvents(StreamEventsRequest(), metadata=feed.served.signed_in(alice))
        first, second = await anext(pieces := aiter(call)), await anext(pieces)
        call.cancel()
        assert {piece.content_type for piece in (first, second)} == {"text/event-stream; charset=utf-8"}
        assert first.data == b'id: 0\ndata: {"heartbeat": {"cursor": "0"}}\n\n'
        (listed,), _, _ = await feed.list(alice)
        name, data, *rest = second.data.decode().split("\n")
        assert (name, rest) == (f"id: {listed.cursor}", ["", ""])
        event = json.loads(data.removeprefix("data: "))["event"]
        assert (event["type"], event["transfer_posted"]["amount_minor"]) == ("transfer.posted", "100")
        assert event["transfer_posted"]["kind"] == "TRANSFER_KIND_DEPOSIT"

    async def test_last_event_id_goes_before_the_first_cursor(self, feed: Feed, bank: Bank) -> None:
        alice = await bank.person()
        await bank.account(alice, 100)
        count = await feed.sequenced()
        metadata = (*feed.served.signed_in(alice), ("last-event-id", str(count)))
        call = feed.stub.StreamEvents(StreamEventsRequest(after_cursor="0"), metadata=metadata)
        assert (await anext(aiter(call))).data.startswith(f"id: {count}\n".encode())
        call.cancel()
