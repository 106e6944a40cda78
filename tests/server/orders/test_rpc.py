"""bank.v1.OrderService over a real channel."""

from collections.abc import AsyncIterator, Awaitable
from uuid import UUID, uuid4

import pytest
from bank.v1 import order_service_pb2 as pb
from bank.v1.hold_service_pb2 import CaptureHoldRequest, GetHoldRequest, VoidHoldRequest
from bank.v1.hold_service_pb2_grpc import HoldServiceStub
from bank.v1.order_service_pb2_grpc import OrderServiceStub
from bank.v1.transfer_service_pb2 import GetTransferRequest, ReverseTransferRequest
from bank.v1.transfer_service_pb2_grpc import TransferServiceStub
from google.rpc.error_details_pb2 import PreconditionFailure

from tests.conftest import Database
from tests.server.bank_server import Metadata, Refusal, ServedBank, refusal_of, serving_bank
from tests.server.orders.conftest import Shop

INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
ORDER_STATE = ("FAILED_PRECONDITION", "ORDER_STATE")
NOT_FOUND = ("NOT_FOUND", "NOT_FOUND")


class Counter:
    """The shop at the service's door."""

    def __init__(self, served: ServedBank) -> None:
        self.served = served
        self.shop = Shop(served.bank, served.bank.database)
        self.orders = OrderServiceStub(served.channel)
        self.holds = HoldServiceStub(served.channel)
        self.transfers = TransferServiceStub(served.channel)

    async def begin(self) -> "Counter":
        await self.shop.begin()
        self.alice: Metadata = self.served.signed_in(self.shop.alice)
        self.merchant: Metadata = self.served.signed_in(self.shop.merchant)
        self.admin: Metadata = self.served.signed_in(self.shop.admin)
        self.stranger: Metadata = self.served.signed_in(await self.shop.bank.person())
        self.kite = str(await self.shop.product())
        return self

    def new(self, *lines: tuple[str, int], **changes: object) -> pb.CreateOrderRequest:
        items = [pb.ProductQuantity(product_id=product_id, quantity=count) for product_id, count in lines]
        values: dict[str, object] = {
            "request_id": str(uuid4()),
            "payment_account_id": str(self.shop.payment),
            "items": items or [pb.ProductQuantity(product_id=self.kite, quantity=2)],
        }
        return pb.CreateOrderRequest(**{**values, **changes})  # type: ignore[arg-type]  # values by name

    async def placed(self) -> pb.Order:
        order: pb.Order = (await self.orders.CreateOrder(self.new(), metadata=self.alice)).order
        return order

    async def shipped(self) -> pb.Order:
        request = pb.ShipOrderRequest(order_id=(await self.placed()).id)
        order: pb.Order = (await self.orders.ShipOrder(request, metadata=self.merchant)).order
        return order


@pytest.fixture
async def counter(database: Database) -> AsyncIterator[Counter]:
    async with serving_bank(database) as served:
        yield await Counter(served).begin()


async def refused(counter: Counter, call: Awaitable[object]) -> Refusal:
    """What a refused call is told; nothing was changed by it."""
    before = await counter.shop.everything()
    refusal = await refusal_of(call)
    assert await counter.shop.everything() == before
    return refusal


class TestCreateOrder:
    async def test_order_is_answered_and_read_by_both_sides(self, counter: Counter) -> None:
        request = counter.new((counter.kite, 1), (counter.kite.upper(), 1), expected_total_minor=10)
        created = await counter.orders.CreateOrder(request, metadata=counter.alice)
        order = created.order
        assert [(item.product_id, item.quantity, item.unit_price_minor) for item in order.items] == [
            (counter.kite, 2, 5)
        ]
        assert (order.total_minor, order.refunded_minor, order.currency_code) == (10, 0, "USD")
        assert (order.state, order.payment_state) == (pb.ORDER_STATE_PLACED, pb.PAYMENT_STATE_HELD)
        assert order.fulfillment_state == pb.FULFILLMENT_STATE_RESERVED
        assert (order.transfer_id, created.replayed) == ("", False)
        again = await counter.orders.CreateOrder(request, metadata=counter.alice)
        assert again == pb.CreateOrderResponse(order=order, replayed=True)
        for reader in (counter.alice, counter.merchant, counter.admin):
            got = await counter.orders.GetOrder(pb.GetOrderRequest(order_id=order.id), metadata=reader)
            assert got.order == order
        refusal = await refusal_of(
            counter.orders.GetOrder(pb.GetOrderRequest(order_id=order.id), metadata=counter.stranger)
        )
        assert refusal.why == NOT_FOUND
        hold = (await counter.holds.GetHold(GetHoldRequest(hold_id=order.hold_id), metadata=counter.alice)).hold
        assert (hold.order_id, hold.amount_minor, hold.expire_time) == (order.id, 10, order.expire_time)

    @pytest.mark.parametrize(
        ("changes", "fields"),
        [
            ({"request_id": "", "payment_account_id": "x"}, ["request_id", "payment_account_id"]),
            ({"items": []}, ["items"]),
            ({"items": [pb.ProductQuantity(product_id=str(uuid4()), quantity=1)] * 51}, ["items"]),
            ({"items": [pb.ProductQuantity()]}, ["items[0].product_id", "items[0].quantity"]),
            ({"items": [pb.ProductQuantity(product_id=str(uuid4()), quantity=-1)]}, ["items[0].quantity"]),
            ({"items": [pb.ProductQuantity(product_id=str(uuid4()), quantity=10**9 + 1)]}, ["items[0].quantity"]),
            ({"expected_total_minor": -1}, ["expected_total_minor"]),
            ({"expected_total_minor": 10**17 + 1}, ["expected_total_minor"]),
        ],
    )
    async def test_malformed_order_is_refused(
        self, counter: Counter, changes: dict[str, object], fields: list[str]
    ) -> None:
        request = counter.new(**changes)
        refusal = await refused(counter, counter.orders.CreateOrder(request, metadata=counter.alice))
        assert (refusal.why, refusal.fields) == (INVALID, fields)

    async def test_refusals_have_their_reasons(self, counter: Counter) -> None:
        dear = str(await counter.shop.product(price_minor=10**17))
        archived = await counter.shop.product()
        await counter.shop.bank.pool.execute("UPDATE products SET state = 'ARCHIVED' WHERE id = $1", archived)
        few = [str(await counter.shop.product(0)) for _ in range(50)]
        for request, reason in (
            (counter.new((str(archived), 1)), "PRODUCT_ARCHIVED"),
            (counter.new((dear, 2)), "AMOUNT_OVERFLOW"),
            (counter.new(expected_total_minor=9), "PRICE_CHANGED"),
            (counter.new(*((product_id, 10**9) for product_id in few)), "OUT_OF_STOCK"),
            (counter.new((dear, 1)), "INSUFFICIENT_FUNDS"),
        ):
            refusal = await refused(counter, counter.orders.CreateOrder(request, metadata=counter.alice))
            assert refusal.why == ("FAILED_PRECONDITION", reason)
            if reason == "OUT_OF_STOCK":
                assert sorted(refusal.metadata["product_ids"].split(",")) == sorted(few)
                [violation] = refusal.detail(PreconditionFailure).violations
                assert violation.subject == refusal.metadata["product_ids"]


class TestSteps:
    async def test_order_goes_all_the_way(self, counter: Counter) -> None:
        shipped = await counter.shipped()
        assert (shipped.payment_state, shipped.fulfillment_state) == (
            pb.PAYMENT_STATE_PAID,
            pb.FULFILLMENT_STATE_SHIPPED,
        )
        transfer = (
            await counter.transfers.GetTransfer(
                GetTransferRequest(transfer_id=shipped.transfer_id), metadata=counter.alice
            )
        ).transfer
        assert (transfer.order_id, transfer.hold_id, transfer.amount_minor) == (shipped.id, shipped.hold_id, 10)
        request = pb.DeliverOrderRequest(order_id=shipped.id)
        delivered = (await counter.orders.DeliverOrder(request, metadata=counter.merchant)).order
        assert (delivered.state, delivered.fulfillment_state) == (
            pb.ORDER_STATE_COMPLETED,
            pb.FULFILLMENT_STATE_DELIVERED,
        )
        refund = pb.RefundOrderRequest(
            order_id=shipped.id,
            request_id=str(uuid4()),
            amount_minor=4,
            restock_items=[pb.ProductQuantity(product_id=counter.kite, quantity=1)],
        )
        refunded = await counter.orders.RefundOrder(refund, metadata=counter.merchant)
        assert (refunded.order.payment_state, refunded.order.refunded_minor) == (
            pb.PAYMENT_STATE_PARTIALLY_REFUNDED,
            4,
        )
        assert refunded.order.items[0].restocked_quantity == 1
        assert (refunded.transfer.reverses_transfer_id, refunded.transfer.order_id) == (
            shipped.transfer_id,
            shipped.id,
        )
        assert (refunded.transfer.amount_minor, refunded.replayed) == (4, False)
        again = await counter.orders.RefundOrder(refund, metadata=counter.merchant)
        assert (again.order, again.transfer, again.replayed) == (refunded.order, refunded.transfer, True)
        rest = pb.RefundOrderRequest(order_id=shipped.id, request_id=str(uuid4()), full=True)
        assert (await counter.orders.RefundOrder(rest, metadata=counter.admin)).order.payment_state == (
            pb.PAYMENT_STATE_REFUNDED
        )

    async def test_buyer_cancels(self, counter: Counter) -> None:
        request = pb.CancelOrderRequest(order_id=(await counter.placed()).id)
        for _ in range(2):
            order = (await counter.orders.CancelOrder(request, metadata=counter.alice)).order
            assert order.state == pb.ORDER_STATE_CANCELED
        ship = pb.ShipOrderRequest(order_id=order.id)
        refusal = await refused(counter, counter.orders.ShipOrder(ship, metadata=counter.merchant))
        assert refusal.why == ORDER_STATE
        assert refusal.metadata == {"order_id": order.id, "states": "CANCELED,RELEASED,RELEASED"}

    async def test_overdue_order_is_shown_as_expired(self, counter: Counter) -> None:
        order = await counter.placed()
        await counter.shop.overdue(UUID(order.id))
        request = pb.GetOrderRequest(order_id=order.id)
        shown = (await counter.orders.GetOrder(request, metadata=counter.alice)).order
        assert (shown.state, shown.payment_state, shown.fulfillment_state) == (
            pb.ORDER_STATE_EXPIRED,
            pb.PAYMENT_STATE_RELEASED,
            pb.FULFILLMENT_STATE_RELEASED,
        )
        assert shown.update_time == shown.expire_time

    @pytest.mark.parametrize(
        ("changes", "fields"),
        [
            ({}, ["amount_minor"]),
            ({"amount_minor": 1, "full": True}, ["amount_minor"]),
            ({"amount_minor": -1}, ["amount_minor"]),
            ({"full": True, "order_id": "x", "request_id": ""}, ["order_id", "request_id"]),
            (
                {"full": True, "restock_items": [pb.ProductQuantity()]},
                ["restock_items[0].product_id", "restock_items[0].quantity"],
            ),
            (
                {"full": True, "restock_items": [pb.ProductQuantity(product_id=str(uuid4()), quantity=1)] * 51},
                ["restock_items"],
            ),
        ],
    )
    async def test_malformed_refund_is_refused(
        self, counter: Counter, changes: dict[str, object], fields: list[str]
    ) -> None:
        values = {"order_id": str(uuid4()), "request_id": str(uuid4()), **changes}
        request = pb.RefundOrderRequest(**values)  # type: ignore[arg-type]  # values by name
        refusal = await refused(counter, counter.orders.RefundOrder(request, metadata=counter.merchant))
        assert (refusal.why, refusal.fields) == (INVALID, fields)

    async def test_malformed_ids_are_refused(self, counter: Counter) -> None:
        for call, request in (
            (counter.orders.GetOrder, pb.GetOrderRequest(order_id="x")),
            (counter.orders.CancelOrder, pb.CancelOrderRequest(order_id="x")),
            (counter.orders.ShipOrder, pb.ShipOrderRequest(order_id="x")),
            (counter.orders.DeliverOrder, pb.DeliverOrderRequest(order_id="x")),
        ):
            refusal = await refusal_of(call(request, metadata=counter.merchant))
            assert (refusal.why, refusal.fields) == (INVALID, ["order_id"])

    async def test_session_that_has_ended_is_refused_first(self, counter: Counter) -> None:
        order = await counter.placed()
        await counter.shop.bank.pool.execute("UPDATE sessions SET revoke_time = now()")
        for call, request in (
            (counter.orders.CreateOrder, counter.new()),
            (counter.orders.CancelOrder, pb.CancelOrderRequest(order_id=order.id)),
            (counter.orders.ShipOrder, pb.ShipOrderRequest(order_id=order.id)),
            (counter.orders.DeliverOrder, pb.DeliverOrderRequest(order_id=order.id)),
            (
                counter.orders.RefundOrder,
                pb.RefundOrderRequest(order_id=order.id, request_id=str(uuid4()), full=True),
            ),
        ):
            refusal = await refused(counter, call(request, metadata=counter.alice))
            assert refusal.why == ("UNAUTHENTICATED", "SESSION_REVOKED")


class TestPlainCalls:
    async def test_hold_and_payment_are_left_to_the_order(self, counter: Counter) -> None:
        order = await counter.placed()
        for call, request in (
            (
                counter.holds.CaptureHold,
                CaptureHoldRequest(hold_id=order.hold_id, request_id=str(uuid4()), full=True),
            ),
            (counter.holds.VoidHold, VoidHoldRequest(hold_id=order.hold_id)),
        ):
            refusal = await refused(counter, call(request, metadata=counter.merchant))
            assert refusal.why == ORDER_STATE
        paid = await counter.shipped()
        reverse = ReverseTransferRequest(transfer_id=paid.transfer_id, request_id=str(uuid4()), full=True)
        refusal = await refused(counter, counter.transfers.ReverseTransfer(reverse, metadata=counter.merchant))
        assert refusal.why == ("FAILED_PRECONDITION", "NOT_REVERSIBLE")


class TestListOrders:
    async def test_pages_are_followed(self, counter: Counter) -> None:
        ids = [(await counter.placed()).id for _ in range(3)]
        first = await counter.orders.ListOrders(pb.ListOrdersRequest(page_size=2), metadata=counter.merchant)
        rest = await counter.orders.ListOrders(
            pb.ListOrdersRequest(page_size=2, page_token=first.next_page_token), metadata=counter.merchant
        )
        assert [order.id for order in (*first.orders, *rest.orders)] == ids[::-1]
        assert rest.next_page_token == ""
        asked = pb.ListOrdersRequest(state=pb.ORDER_STATE_PLACED, party=pb.ORDER_PARTY_BUYER)
        assert len((await counter.orders.ListOrders(asked, metadata=counter.alice)).orders) == 3
        assert len((await counter.orders.ListOrders(asked, metadata=counter.merchant)).orders) == 0

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"page_size": -1}, INVALID),
            ({"state": 9}, INVALID),
            ({"party": 9}, INVALID),
            ({"page_token": "made up"}, ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")),
        ],
    )
    async def test_malformed_filter_is_refused(
        self, counter: Counter, changes: dict[str, object], why: tuple[str, str]
    ) -> None:
        request = pb.ListOrdersRequest(**changes)  # type: ignore[arg-type]  # values by name
        assert (await refusal_of(counter.orders.ListOrders(request, metadata=counter.alice))).why == why
