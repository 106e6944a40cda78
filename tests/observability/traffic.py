"""A little of everything that callers do, so that every metric has something to tell."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
from bank.v1 import event_service_pb2, event_service_pb2_grpc

from tests.e2e.conftest import ABSENT, Bank, Person, transfer_fields
from tests.e2e.wire import GrpcWire
from tests.envoy.gateway import Reply


async def make_traffic(bank: Bank) -> None:
    """Move money in every way, be refused, sign up, watch, order, schedule and verify."""
    alice, bob = await bank.person(), await bank.person()
    source, destination = await bank.account(alice, 100_000), await bank.account(bob)
    await _tell_webhook(bank)
    async with asyncio.TaskGroup() as group:
        group.create_task(_move(bank, alice, bob, source, destination))
        group.create_task(_be_refused(bank, alice, source, destination))
        group.create_task(_trade(bank))
        group.create_task(_watch(bank, bob))
    await bank.grpc.call("VerifyLedger", {}, bank.people["admin"].token)
    await sign_up(bank)
    await bank.idle()


async def _tell_webhook(bank: Bank) -> None:
    """Have the worker tell a receiver of an event."""
    owner = await bank.person()
    told = asyncio.Event()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()
        told.set()

    async with await asyncio.start_server(receive, "127.0.0.1") as receiver:
        port = receiver.sockets[0].getsockname()[1]
        fields = {"url": f"http://127.0.0.1:{port}/events", "request_id": str(uuid4())}
        made = await bank.grpc.call("CreateWebhook", fields, owner.token)
        assert made.code == "OK", made
        await bank.account(owner)
        async with asyncio.timeout(20):
            await told.wait()


async def sign_up(bank: Bank, *headers: tuple[str, str]) -> Reply:
    """Sign somebody up over JSON; the answer."""
    name = f"u{uuid4().hex[:16]}"
    fields = {
        "username": name,
        "password": "nine grey geese at dawn",
        "full_name": "Somebody New",
        "email": f"{name}@example.com",
    }
    reply = await bank.json.gateway.send("POST", "/v1/users", headers, json.dumps(fields))
    assert reply.status == 200, reply
    return reply


async def _move(bank: Bank, alice: Person, bob: Person, source: str, destination: str) -> None:
    for number in range(20):
        wire = bank.wires[number % 2]
        assert (await wire.call("CreateTransfer", transfer_fields(source, destination, 5), alice.token)).code == "OK"
    due = (datetime.now(UTC) + timedelta(seconds=5)).isoformat().replace("+00:00", "Z")
    scheduled = await bank.grpc.call(
        "CreateScheduledTransfer", transfer_fields(source, destination, 7, execute_time=due), alice.token
    )
    assert scheduled.code == "OK", scheduled
    held = await bank.grpc.call("CreateHold", transfer_fields(source, destination, 9), alice.token)
    hold = {"hold_id": held.reply["hold"]["id"], "request_id": str(uuid4()), "full": True}
    captured = await bank.grpc.call("CaptureHold", hold, bob.token)
    assert captured.code == "OK", captured
    for person in (alice, bob):
        for rpc in ("ListAccounts", "ListTransfers", "ListEvents"):
            await bank.json.call(rpc, {}, person.token)


async def _be_refused(bank: Bank, alice: Person, source: str, destination: str) -> None:
    for refused in (
        transfer_fields(source, destination, 10**12),
        transfer_fields(source, destination, -1),
        transfer_fields(source, ABSENT),
    ):
        assert (await bank.grpc.call("CreateTransfer", refused, alice.token)).code != "OK"
    locked = await bank.account(alice, 100)
    holder = await asyncpg.connect(bank.stack.owner_url)
    try:
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", locked)
        waiting = await bank.grpc.call("CreateTransfer", transfer_fields(locked, destination), alice.token)
        assert waiting.reason == "CONTENTION"
        async with grpc.aio.insecure_channel(bank.stack.grpc_target) as channel:
            hasty = GrpcWire(channel, timeout_s=1)
            late = await hasty.call("CreateTransfer", transfer_fields(locked, destination), alice.token)
        assert late.code == "DEADLINE_EXCEEDED"
    finally:
        await holder.close()


async def _trade(bank: Bank) -> None:
    merchant, buyer = await bank.person(roles=("DEPOSITOR", "MERCHANT")), await bank.person()
    product: dict[str, Any] = {
        "request_id": str(uuid4()),
        "name": f"Kite {uuid4().hex}",
        "price_minor": 5,
        "currency_code": "USD",
        "settlement_account_id": await bank.account(merchant),
        "initial_quantity": 10,
    }
    offered = await bank.grpc.call("CreateProduct", product, merchant.token)
    order = {
        "request_id": str(uuid4()),
        "payment_account_id": await bank.account(buyer, 100),
        "items": [{"product_id": offered.reply["product"]["id"], "quantity": 1}],
        "expected_total_minor": 5,
    }
    placed = await bank.json.call("CreateOrder", order, buyer.token)
    shipped = await bank.json.call("ShipOrder", {"order_id": placed.reply["order"]["id"]}, merchant.token)
    assert shipped.code == "OK", shipped


async def _watch(bank: Bank, watcher: Person) -> None:
    async with grpc.aio.insecure_channel(bank.stack.grpc_target) as channel:
        stub = event_service_pb2_grpc.EventServiceStub(channel)
        metadata = (("authorization", f"Bearer {watcher.token}"),)
        told = 0
        async for message in stub.WatchEvents(event_service_pb2.WatchEventsRequest(), metadata=metadata, timeout=30):
            told += message.HasField("event")
            if told == 5:
                return
