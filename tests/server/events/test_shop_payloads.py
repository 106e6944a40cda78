"""What is told of products, stocks and orders: as each was then, to its merchant, its buyer and admins alone."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from bank.v1.event_service_pb2 import Event, OrderFacts
from bank.v1.order_service_pb2 import FulfillmentState, OrderState, PaymentState
from bank.v1.product_service_pb2 import ProductState

from server.caller import Role
from server.database import Database, open_pool
from server.events.messages import PAYLOADS
from server.events.operations import EVENT_SETTINGS, EventFilter, EventReader
from server.orders.transactions import ORDER_SETTINGS, ORDERS_AT_ONCE
from server.products.operations import Adjustment, ProductChange
from server.request_ids import Request
from tests.server.bank import Person, caller
from tests.server.events.conftest import SYNC, Feed
from tests.server.orders.conftest import PRICE, Shop, actor
from tests.worker.surroundings import link_to
from worker.orders import OrderSweep


@pytest.fixture
async def shop(feed: Feed) -> AsyncIterator[Shop]:
    bank = feed.served.bank
    database = Database(await open_pool(bank.url, size=ORDERS_AT_ONCE, settings=ORDER_SETTINGS))
    yield await Shop(bank, database).begin()
    await database.close()


async def told(feed: Feed, reader: Person, noun: str) -> list[Event]:
    """What a reader is told of a noun; each event has the payload of its type."""
    await feed.sequenced()
    events, _, _ = await feed.list(reader, *(name for name in PAYLOADS if name.startswith(f"{noun}.")), size=200)
    for event in events:
        assert event.WhichOneof("payload") == PAYLOADS[event.type]
    return events


def payload(event: Event) -> Any:
    return getattr(event, PAYLOADS[event.type])


def adjustment(shop: Shop, product_id: UUID, delta: int | None, reason: str) -> Adjustment:
    return Adjustment(Request(shop.merchant.user_id, uuid4(), "test", b""), product_id, delta, reason)


class TestProductEvents:
    async def test_product_is_told_as_it_was_after_each_event(self, feed: Feed, shop: Shop) -> None:
        merchant = caller(shop.merchant, Role.MERCHANT)
        kite = await shop.product(7)
        await shop.products.update(ProductChange(kite, 0, name="Blue kite", price_minor=9), merchant)
        await shop.products.update(ProductChange(kite, 0, name="Green kite"), merchant)
        await shop.products.archive(kite, merchant)
        events = await told(feed, shop.merchant, "product")
        assert [event.type for event in events] == [
            *("product.created", "product.updated", "product.updated", "product.archived")
        ]
        assert {event.subject_id for event in events} == {payload(event).product_id for event in events} == {str(kite)}
        facts = [payload(event) for event in events]
        assert {each.merchant_user_id for each in facts} == {str(shop.merchant.user_id)}
        assert [(each.name, each.price_minor, each.currency_code, each.version) for each in facts] == [
            ("Red kite", PRICE, "USD", 1),
            ("Blue kite", 9, "USD", 2),
            ("Green kite", 9, "USD", 3),
            ("Green kite", 9, "USD", 4),
        ]
        assert [list(each.changed_fields) for each in facts] == [[], ["name", "price_minor"], ["name"], []]
        assert [each.initial_quantity for each in facts] == [7, 0, 0, 0]
        states = [each.state for each in facts]
        assert states == [*(ProductState.PRODUCT_STATE_ACTIVE,) * 3, ProductState.PRODUCT_STATE_ARCHIVED]

    async def test_merchant_and_admins_alone_are_told(self, feed: Feed, shop: Shop) -> None:
        kite = await shop.product()
        await shop.products.adjust(adjustment(shop, kite, 1, "found"), caller(shop.merchant, Role.MERCHANT))
        for noun in ("product", "inventory"):
            assert await told(feed, shop.admin, noun) == await told(feed, shop.merchant, noun) != []
            assert await told(feed, shop.alice, noun) == []


class TestInventoryEvents:
    async def test_stock_is_told_as_it_was_after_each_event(self, feed: Feed, shop: Shop) -> None:
        merchant = caller(shop.merchant, Role.MERCHANT)
        kite = await shop.product(10)
        order_id = await shop.order({kite: 3})
        await shop.products.adjust(adjustment(shop, kite, -4, "broken"), merchant)
        await shop.orders.cancel(order_id, actor(shop.alice))
        await shop.products.adjust(adjustment(shop, kite, None, "counted"), merchant)
        events = await told(feed, shop.merchant, "inventory")
        assert {event.subject_id for event in events} == {str(kite)}
        assert [
            (each.product_id, each.delta, each.on_hand, each.reserved, each.available, each.reason)
            for each in map(payload, events)
        ] == [(str(kite), -4, 6, 3, 3, "broken"), (str(kite), -6, 0, 0, 0, "counted")]
        assert {payload(event).merchant_user_id for event in events} == {str(shop.merchant.user_id)}


def states_of(facts: OrderFacts) -> tuple[str, str, str]:
    return (
        OrderState.Name(facts.state).removeprefix("ORDER_STATE_"),
        PaymentState.Name(facts.payment_state).removeprefix("PAYMENT_STATE_"),
        FulfillmentState.Name(facts.fulfillment_state).removeprefix("FULFILLMENT_STATE_"),
    )


class TestOrderEvents:
    async def test_order_is_told_as_it_was_after_each_event(self, feed: Feed, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.orders.ship(order_id, actor(shop.merchant))
        _, part, _ = await shop.orders.refund(shop.refund_of(order_id, 4))
        await shop.orders.deliver(order_id, actor(shop.merchant))
        _, rest, _ = await shop.orders.refund(shop.refund_of(order_id))
        payment = (await shop.get(order_id)).row.transfer_id
        events = await told(feed, shop.alice, "order")
        assert [(event.type, *states_of(payload(event))) for event in events] == [
            ("order.created", "PLACED", "HELD", "RESERVED"),
            ("order.shipped", "PLACED", "PAID", "SHIPPED"),
            ("order.partially_refunded", "PLACED", "PARTIALLY_REFUNDED", "SHIPPED"),
            ("order.delivered", "COMPLETED", "PARTIALLY_REFUNDED", "DELIVERED"),
            ("order.refunded", "COMPLETED", "REFUNDED", "DELIVERED"),
        ]
        facts = [payload(event) for event in events]
        assert {event.subject_id for event in events} == {each.order_id for each in facts} == {str(order_id)}
        assert {(each.total_minor, each.currency_code) for each in facts} == {(2 * PRICE, "USD")}
        assert {(each.buyer_user_id, each.merchant_user_id) for each in facts} == {
            (str(shop.alice.user_id), str(shop.merchant.user_id))
        }
        assert [(each.transfer_id, each.amount_minor) for each in facts] == [
            ("", 0),
            (str(payment), 10),
            (str(part.id), 4),
            ("", 0),
            (str(rest.id), 6),
        ]

    async def test_end_without_payment_is_told(self, feed: Feed, shop: Shop) -> None:
        canceled, overdue = await shop.order(), await shop.order()
        await shop.orders.cancel(canceled, actor(shop.alice))
        await shop.overdue(overdue)
        await OrderSweep(shop.bank.database).sweep()
        ends = (await told(feed, shop.merchant, "order"))[2:]
        assert [(event.type, event.subject_id, *states_of(payload(event))) for event in ends] == [
            ("order.canceled", str(canceled), "CANCELED", "RELEASED", "RELEASED"),
            ("order.expired", str(overdue), "EXPIRED", "RELEASED", "RELEASED"),
        ]
        assert {(payload(event).total_minor, payload(event).transfer_id) for event in ends} == {(2 * PRICE, "")}

    async def test_buyer_merchant_and_admins_alone_are_told_and_all_alike(self, feed: Feed, shop: Shop) -> None:
        await shop.shipped()
        stranger = await shop.bank.person(roles=("DEPOSITOR", "MERCHANT"))
        as_buyer = await told(feed, shop.alice, "order")
        assert len(as_buyer) == 2
        assert as_buyer == await told(feed, shop.merchant, "order") == await told(feed, shop.admin, "order")
        assert await told(feed, stranger, "order") == []

    async def test_page_of_many_orders_costs_as_many_queries_as_one_of_few(self, feed: Feed, shop: Shop) -> None:
        kite = await shop.product(100)
        counts = []
        for orders in (2, 15):
            for _ in range(orders):
                await shop.order({kite: 1})
            await feed.sequenced()
            async with link_to(shop.bank.url) as (link, url):
                reader = EventReader(Database(await open_pool(url, size=1, settings=EVENT_SETTINGS)))
                page = await reader.page(EventFilter(0, frozenset(), 200), caller(shop.admin, Role.ADMIN))
                await reader.database.close()
            assert sum(fact.event.type == "order.created" for fact in page.facts) >= orders
            counts.append(link.sent.count(SYNC))
        assert counts[0] == counts[1]
