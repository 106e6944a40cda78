"""Orders that the worker ships and delivers: the cascade as its parties watch it, and whatever dies meanwhile."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.parts import Customer, Parts, running_parts, until_ready
from tests.e2e.sse import event_stream
from tests.e2e.wire import GrpcWire
from tests.worker.surroundings import WorkerProcess, eventually, worker_process

PRICE = 5
LIFETIME_S = 86_400
OUTAGES = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


@pytest.fixture(scope="module")
async def parts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parts]:
    settings = {"ORDER_LIFETIME_S": str(LIFETIME_S)}
    async with running_parts(tmp_path_factory.mktemp("deliveries"), settings=settings) as parts:
        yield parts


@pytest.fixture
def environment(parts: Parts, tmp_path: Path) -> dict[str, str]:
    """Of a worker, which has no Redis: no order needs it."""
    names = ("BANK_ENVIRONMENT", "DATABASE_URL", "REDIS_URL", "TOKEN_KEYS_FILE")
    return {
        **{name: parts.environment[name] for name in names},
        "METRICS_PORT": "0",
        "WORKER_READY_FILE": str(tmp_path / "worker.ready"),
        "ORDER_DELIVERY_DELAY_S": "0.4",
    }


async def done(wire: GrpcWire, rpc: str, fields: dict[str, Any], token: str) -> dict[str, Any]:
    """The reply to a call that must succeed in the end: sent again while the service is away."""
    async with asyncio.timeout(30):
        while (answer := await wire.call(rpc, fields, token)).code in OUTAGES:
            await asyncio.sleep(0.05)
    assert answer.code == "OK", (rpc, answer)
    return dict(answer.reply)


async def offer(parts: Parts, wire: GrpcWire) -> tuple[Customer, str]:
    """A new merchant, and what they sell."""
    merchant = await parts.sign_in("MERCHANT")
    opening = {"currency_code": "USD", "request_id": str(uuid4())}
    account_id = (await done(wire, "CreateAccount", opening, merchant.token))["account"]["id"]
    fields = {
        "request_id": str(uuid4()),
        "name": "Kite",
        "price_minor": PRICE,
        "currency_code": "USD",
        "settlement_account_id": account_id,
        "initial_quantity": 100_000,
    }
    product = (await done(wire, "CreateProduct", fields, merchant.token))["product"]
    return Customer(merchant.user_id, merchant.token, account_id), product["id"]


async def order(wire: GrpcWire, buyer: Customer, product_id: str) -> str:
    """Place an order, once however often it has to be asked for; its id."""
    fields = {
        "request_id": str(uuid4()),
        "payment_account_id": buyer.account_id,
        "items": [{"product_id": product_id, "quantity": 1}],
    }
    return str((await done(wire, "CreateOrder", fields, buyer.token))["order"]["id"])


async def watch(parts: Parts, person: Customer, begun: asyncio.Event) -> list[dict[str, Any]]:
    """What somebody is shown from now on until an order is delivered."""
    seen = []
    async with event_stream(parts.gateway.port, person.token, after_cursor="now") as stream:
        async for message in stream.messages():
            begun.set()
            if "event" in message:
                seen.append(message["event"])
                if message["event"]["type"] == "order.delivered":
                    break
    return seen


class TestCascade:
    async def test_order_payment_and_delivery_are_watched_as_they_happen(
        self, parts: Parts, environment: dict[str, str], tmp_path: Path
    ) -> None:
        async with parts.channel() as wire, worker_process(environment, tmp_path):
            (buyer,) = await parts.customers(wire, 1, 100)
            merchant, product_id = await offer(parts, wire)
            async with parts.owner() as owner:

                async def sequenced() -> bool:
                    return not await owner.fetchval("SELECT count(*) FROM events WHERE position IS NULL")

                await eventually(sequenced)
                begun = [asyncio.Event(), asyncio.Event()]
                watches = [
                    asyncio.create_task(watch(parts, person, event))
                    for person, event in zip((buyer, merchant), begun, strict=True)
                ]
                async with asyncio.timeout(20):
                    await asyncio.gather(*(event.wait() for event in begun))
                    order_id = await order(wire, buyer, product_id)
                    by_buyer, by_merchant = await asyncio.gather(*watches)
                row = await owner.fetchrow("SELECT * FROM orders WHERE id = $1", order_id)
        types = [event["type"] for event in by_buyer]
        assert sorted(types[2:4]) == ["hold.captured", "transfer.posted"]  # at once, in either order
        assert [*types[:2], *types[4:]] == ["hold.created", "order.created", "order.shipped", "order.delivered"]
        assert [event["cursor"] for event in by_merchant] == [event["cursor"] for event in by_buyer]
        told = {event["type"]: event[event["type"].replace(".", "_")] for event in by_buyer}
        posted, shipped = told["transfer.posted"], told["order.shipped"]
        assert (posted["id"], posted["amount_minor"]) == (shipped["transfer_id"], shipped["amount_minor"])
        assert (shipped["order_id"], shipped["amount_minor"], shipped["total_minor"]) == (order_id, "5", "5")
        assert [told[f"order.{step}"]["fulfillment_state"] for step in ("created", "shipped", "delivered")] == [
            f"FULFILLMENT_STATE_{state}" for state in ("RESERVED", "SHIPPED", "DELIVERED")
        ]
        assert (row["expire_time"] - row["create_time"]).total_seconds() == LIFETIME_S
        await parts.assert_ledger_adds_up()


@pytest.mark.timeout(180)
class TestFaults:
    async def test_whatever_is_killed_every_order_is_delivered_once(
        self, parts: Parts, environment: dict[str, str], tmp_path: Path
    ) -> None:
        placed: list[str] = []
        ordering = True
        async with AsyncExitStack() as stack:
            wire = await stack.enter_async_context(parts.channel())
            buyers = await parts.customers(wire, 3, 1_000_000)
            merchant, product_id = await offer(parts, wire)

            async def order_on(buyer: Customer) -> None:
                async with parts.channel() as own:
                    while ordering:
                        placed.append(await order(own, buyer, product_id))
                        await asyncio.sleep(0.02)

            running = [asyncio.create_task(order_on(buyer)) for buyer in buyers]
            worker = await stack.enter_async_context(worker_process(environment, tmp_path))
            for victims in ("worker", "server", "postgres", "worker server", "worker postgres"):
                await asyncio.sleep(1.5)
                worker = await self.replace(parts, victims.split(), worker, stack, environment, tmp_path)
            ordering = False
            await asyncio.gather(*running)
            async with parts.owner() as owner:

                async def none_open() -> bool:
                    return not await owner.fetchval("SELECT count(*) FROM orders WHERE state = 'PLACED'")

                await eventually(none_open, within_s=60)
                rows = await owner.fetch(
                    "SELECT orders.id::text, state, payment_state, fulfillment_state,"
                    " array_agg(type ORDER BY events.id)"
                    " FROM orders JOIN events ON events.subject_id = orders.id"
                    " WHERE merchant_user_id = $1 GROUP BY orders.id",
                    merchant.user_id,
                )
                paid = await owner.fetchval("SELECT posted_minor FROM accounts WHERE id = $1", merchant.account_id)
        story = ("COMPLETED", "PAID", "DELIVERED", ["order.created", "order.shipped", "order.delivered"])
        assert {order_id: tuple(rest) for order_id, *rest in rows} == dict.fromkeys(placed, story)
        assert len(placed) > 50
        assert paid == len(placed) * PRICE
        await parts.assert_ledger_adds_up()

    async def replace(
        self,
        parts: Parts,
        victims: list[str],
        worker: WorkerProcess,
        stack: AsyncExitStack,
        environment: dict[str, str],
        folder: Path,
    ) -> WorkerProcess:
        """Kill some, and start them again; the worker from then on."""
        if "worker" in victims:
            await worker.kill()
        if "server" in victims:
            parts.servers[0].signal(signal.SIGKILL)
            await parts.servers[0].process.wait()
        if "postgres" in victims:
            await parts.kill_postgres()
        await asyncio.sleep(0.5)
        if "postgres" in victims:
            await parts.start_postgres()
        if "server" in victims:
            await parts.start_server(0)
        if "worker" in victims:
            worker = await stack.enter_async_context(worker_process(environment, folder))
        await until_ready(parts)
        return worker
