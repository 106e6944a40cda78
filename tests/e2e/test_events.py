"""The event feed through the gateway: as server-sent events, as a gRPC stream and as a list."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import Any

import pytest
from bank.v1.event_service_pb2 import ListEventsRequest, WatchEventsRequest
from bank.v1.event_service_pb2_grpc import EventServiceStub
from google.protobuf.json_format import MessageToDict

from server.events.hub import WATCHES_OF_USER_MAX
from tests.e2e.conftest import Bank, Person, transfer_fields
from tests.e2e.parts import Customer, Parts, _read, running_parts, until_ready
from tests.e2e.sse import event_stream
from tests.worker.surroundings import sequencing


def gateway_port(bank: Bank) -> int:
    return int(bank.stack.environment["GATEWAY_PORT"])


async def sequenced(bank: Bank) -> None:
    """Wait until every event has its position."""
    async with asyncio.timeout(10):
        while await bank.owner.fetchval("SELECT count(*) FROM events WHERE position IS NULL"):
            await asyncio.sleep(0.02)


async def pay(bank: Bank, payer: Person, source: str, destination: str) -> str:
    """Id of the transfer."""
    answer = await bank.json.call("CreateTransfer", transfer_fields(source, destination), payer.token)
    assert answer.code == "OK", answer
    return str(answer.reply["transfer"]["id"])


async def expect(messages: AsyncIterator[dict[str, Any]], kind: str, within_s: float = 5) -> dict[str, Any]:
    """The next message, which is of this kind."""
    message = await asyncio.wait_for(anext(messages), within_s)
    assert message.keys() == {kind}, message
    content: dict[str, Any] = message[kind]
    return content


class TestStreamEvents:
    async def test_events_are_shown_as_they_happen(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        await sequenced(bank)
        async with (
            event_stream(gateway_port(bank), alice.token, after_cursor="now", types="transfer.posted") as payer,
            event_stream(gateway_port(bank), bob.token, after_cursor="now") as payee,
        ):
            assert payer.status == 200
            assert payer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert (payer.headers["cache-control"], payer.headers["x-accel-buffering"]) == ("no-store", "no")
            mine, theirs = payer.messages(), payee.messages()
            await expect(mine, "heartbeat")
            await expect(theirs, "heartbeat")
            for _ in range(3):
                began = monotonic()
                transfer_id = await pay(bank, alice, source, destination)
                sent, received = await expect(mine, "event"), await expect(theirs, "event")
                assert monotonic() - began < 3
                assert sent["subject_id"] == received["subject_id"] == transfer_id
                assert sent["cursor"] == received["cursor"] == payer.last_id
                assert sent["transfer_posted"]["amount_minor"] == "1"
                assert sent["transfer_posted"]["request_id"]
                assert received["transfer_posted"]["request_id"] == ""

    async def test_stream_goes_on_after_the_last_event_id(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        await sequenced(bank)
        async with event_stream(gateway_port(bank), alice.token, types="transfer.posted") as stream:
            messages = stream.messages()
            await expect(messages, "heartbeat")
            await expect(messages, "event")
            last_id = stream.last_id
        transfer_id = await pay(bank, alice, source, destination)
        by_header = event_stream(gateway_port(bank), alice.token, last_id=last_id, types="transfer.posted")
        by_query = event_stream(gateway_port(bank), alice.token, after_cursor=last_id, types="transfer.posted")
        for again in (by_header, by_query):
            async with again as stream:
                messages = stream.messages()
                assert (await expect(messages, "heartbeat"))["cursor"] == last_id
                assert (await expect(messages, "event"))["subject_id"] == transfer_id

    async def test_what_is_shown_is_what_is_listed_and_what_grpc_clients_get(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        for _ in range(3):
            await pay(bank, alice, source, destination)
        headers = ("authorization", f"Bearer {alice.token}")
        path = "/v1/events?types=transfer.posted&types=account.created&page_size=5"
        async with asyncio.timeout(5):
            while len(listed := (await bank.json.gateway.get(path, headers)).json()["events"]) < 5:
                await asyncio.sleep(0.05)
        stub = EventServiceStub(bank.grpc._channel)
        types = ["transfer.posted", "account.created"]
        page = await stub.ListEvents(ListEventsRequest(types=types), metadata=[headers])
        watch = stub.WatchEvents(WatchEventsRequest(types=types), metadata=[headers])
        watched = aiter(watch)
        assert (await anext(watched)).HasField("heartbeat")
        async with event_stream(gateway_port(bank), alice.token) as stream:
            messages = stream.messages()
            await expect(messages, "heartbeat")
            for number, event in enumerate(listed):
                assert await expect(messages, "event") == event
                assert _as_json((await anext(watched)).event) == _as_json(page.events[number]) == event
        watch.cancel()

    async def test_refusal_is_an_error_in_json(self, bank: Bank) -> None:
        alice = await bank.person()
        for token, query, status, reason in (
            ("", {}, 401, "UNAUTHENTICATED"),
            ("x", {}, 401, "UNAUTHENTICATED"),
            (alice.token, {"after_cursor": "x"}, 400, "INVALID_REQUEST"),
            (alice.token, {"after_cursor": "999999999999"}, 400, "INVALID_REQUEST"),
            (alice.token, {"types": "transfer"}, 400, "INVALID_REQUEST"),
            (alice.token, {"page_size": "5"}, 400, "INVALID_REQUEST"),
        ):
            async with event_stream(gateway_port(bank), token, **query) as stream:
                assert (stream.status, stream.headers["content-type"]) == (status, "application/json")
                assert json.loads(await stream.text())["details"][0]["reason"] == reason

    async def test_revoked_session_ends_the_stream(self, bank: Bank) -> None:
        alice = await bank.person()
        async with event_stream(gateway_port(bank), alice.token, after_cursor="now") as stream:
            messages = stream.messages()
            cursor = (await expect(messages, "heartbeat"))["cursor"]
            await bank.json.call("RevokeSession", {"session_id": alice.session_id}, alice.token)
            end = await expect(messages, "end")
            assert end["reason"] == "END_REASON_SESSION_ENDED"
            assert int(end["cursor"]) >= int(cursor)
            assert [message async for message in messages] == []

    @pytest.mark.timeout(60)
    async def test_silence_lasts_longer_than_a_call_may(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        await sequenced(bank)
        async with event_stream(gateway_port(bank), alice.token, after_cursor="now", types="transfer.posted") as stream:
            messages = stream.messages()
            await expect(messages, "heartbeat")
            began = monotonic()
            await expect(messages, "heartbeat", 18)
            assert monotonic() - began > 14
            await asyncio.sleep(3)
            transfer_id = await pay(bank, alice, source, destination)
            assert (await expect(messages, "event"))["subject_id"] == transfer_id


@pytest.fixture(scope="module")
async def parts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parts]:
    """Server processes that can be killed, and a sequencer."""
    async with running_parts(tmp_path_factory.mktemp("events")) as parts, sequencing(parts.environment["DATABASE_URL"]):
        yield parts


@pytest.mark.timeout(120)
class TestFaults:
    async def test_who_comes_again_after_each_kill_misses_nothing_and_sees_nothing_twice(self, parts: Parts) -> None:
        async with parts.channel() as wire:
            alice, bob = await parts.customers(wire, 2, 100_000)
        paying, transfers, cursors = True, [], []
        sent: list[str] = []

        async def pay_on() -> None:
            async with parts.channel() as wire:
                while paying:
                    fields = transfer_fields(alice.account_id, bob.account_id)
                    answer = await wire.call("CreateTransfer", fields, alice.token)
                    while answer.code != "OK":
                        await asyncio.sleep(0.02)
                        answer = await wire.call("CreateTransfer", fields, alice.token)
                    sent.append(answer.reply["transfer"]["id"])

        async def follow(until_seen: asyncio.Event, person: Customer) -> None:
            last_id = ""
            while not until_seen.is_set():
                with suppress(OSError, IndexError):
                    async with event_stream(
                        parts.gateway.port, person.token, last_id=last_id, types="transfer.posted"
                    ) as stream:
                        async for message in stream.messages() if stream.status == 200 else _nothing():
                            last_id = stream.last_id
                            if "event" in message:
                                cursors.append(int(message["event"]["cursor"]))
                                transfers.append(message["event"]["subject_id"])
                await asyncio.sleep(0.05)

        stop = asyncio.Event()
        follower = asyncio.create_task(follow(stop, bob))
        payer = asyncio.create_task(pay_on())
        for process in (0, 1, 0, 1):
            await asyncio.sleep(1)
            parts.servers[process].signal(signal.SIGKILL)
            await parts.servers[process].process.wait()
            await asyncio.sleep(0.5)
            await parts.start_server(process)
            await until_ready(parts)
        paying = False
        await payer
        async with asyncio.timeout(10):
            while len(transfers) < len(sent) + 1:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        stop.set()
        follower.cancel()
        with suppress(asyncio.CancelledError):
            await follower
        async with parts.owner() as owner:
            rows = await owner.fetch(
                "SELECT position, subject_id FROM events WHERE counterparty_user_id = $1 ORDER BY position", bob.user_id
            )
        assert len(sent) > 50
        events = [(row["position"], str(row["subject_id"])) for row in rows]
        assert list(zip(cursors, transfers, strict=True)) == events[-len(cursors) :]
        # The opening deposit is the first.
        assert transfers[1:] == sent

    async def test_calls_are_shared_out_whoever_has_the_watches(self, parts: Parts) -> None:
        person = await parts.sign_in()
        parts.servers[0].signal(signal.SIGKILL)
        await parts.servers[0].process.wait()
        await until_ready(parts)
        async with AsyncExitStack() as stack:
            for _ in range(WATCHES_OF_USER_MAX):
                stream = await stack.enter_async_context(event_stream(parts.gateway.port, person.token))
                assert stream.status == 200
            await parts.start_server(0)

            async def call() -> None:
                reply = await parts.gateway.get("/v1/users/me", ("authorization", f"Bearer {person.token}"))
                assert reply.status == 200

            async with asyncio.timeout(20):
                # Until the gateway has noticed that it is back.
                while not (await calls_served(parts))[0]:
                    await call()
            before = await calls_served(parts)
            for _ in range(200):
                await call()
            served = [after - earlier for after, earlier in zip(await calls_served(parts), before, strict=True)]
        assert sum(served) == 200
        assert min(served) > 75

    async def test_server_that_stops_says_so_and_where_to_go_on(self, parts: Parts) -> None:
        person = await parts.sign_in()
        async with (
            event_stream(parts.gateway.port, person.token, after_cursor="now") as one,
            event_stream(parts.gateway.port, person.token, after_cursor="now") as other,
        ):
            streams = [(each, each.messages()) for each in (one, other)]
            for _, messages in streams:
                await expect(messages, "heartbeat")
            for child in parts.servers:
                child.signal(signal.SIGTERM)
            for stream, messages in streams:
                end = await expect(messages, "end", 5)
                assert end == {"reason": "END_REASON_SERVER_STOPPING", "cursor": stream.last_id}
            assert [await child.process.wait() for child in parts.servers] == [0, 0]
        for process in (0, 1):
            await parts.start_server(process)
        await until_ready(parts)


async def calls_served(parts: Parts) -> list[int]:
    """Of GetUser, by each process."""
    sample = re.compile(r"^rpc_server_call_duration_seconds_count\{.*GetUser.*\} (\S+)$", re.MULTILINE)
    pages = [await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/metrics") for port in parts.metrics_ports]
    return [int(sum(float(value) for value in sample.findall(page))) for page in pages]


async def _nothing() -> AsyncIterator[dict[str, Any]]:
    return
    yield {}


def _as_json(event: Any) -> dict[str, Any]:
    return dict(MessageToDict(event, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
