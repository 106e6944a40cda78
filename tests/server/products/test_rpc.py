"""bank.v1.ProductService over a real channel."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from bank.v1 import product_service_pb2 as pb
from bank.v1.product_service_pb2_grpc import ProductServiceStub
from google.protobuf.field_mask_pb2 import FieldMask

from tests.conftest import Database
from tests.server.bank import Person
from tests.server.bank_server import Metadata, ServedBank, refusal_of, serving_bank
from tests.server.products.conftest import TABLES

INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
FORBIDDEN = ("PERMISSION_DENIED", "PERMISSION_DENIED")
NOT_FOUND = ("NOT_FOUND", "NOT_FOUND")


class Counter:
    """A merchant at the service's door, and a customer."""

    def __init__(self, served: ServedBank) -> None:
        self.bank = served.bank
        self.served = served
        self.stub = ProductServiceStub(served.channel)

    async def begin(self) -> "Counter":
        self.person: Person = await self.bank.person(roles=("DEPOSITOR", "MERCHANT"))
        self.account_id: UUID = await self.bank.account(self.person)
        self.merchant: Metadata = self.served.signed_in(self.person)
        self.customer: Metadata = self.served.signed_in(await self.bank.person())
        return self

    def new(self, **changes: object) -> pb.CreateProductRequest:
        values: dict[str, object] = {
            "request_id": str(uuid4()),
            "name": "Red kite",
            "description": "flies",
            "price_minor": 250,
            "currency_code": "USD",
            "settlement_account_id": str(self.account_id),
            "initial_quantity": 7,
        }
        return pb.CreateProductRequest(**{**values, **changes})  # type: ignore[arg-type]  # values by name


@pytest.fixture
async def counter(database: Database) -> AsyncIterator[Counter]:
    async with serving_bank(database) as served:
        yield await Counter(served).begin()


class TestCreateProduct:
    async def test_product_is_answered_and_read_by_anybody(self, counter: Counter) -> None:
        request = counter.new()
        created = await counter.stub.CreateProduct(request, metadata=counter.merchant)
        product = created.product
        assert (product.merchant_user_id, product.name) == (str(counter.person.user_id), "Red kite")
        assert (product.on_hand, product.reserved, product.available) == (7, 0, 7)
        assert (product.state, product.version, created.replayed) == (pb.PRODUCT_STATE_ACTIVE, 1, False)
        again = await counter.stub.CreateProduct(request, metadata=counter.merchant)
        assert again == pb.CreateProductResponse(product=product, replayed=True)
        asked = pb.GetProductRequest(product_id=product.id)
        assert (await counter.stub.GetProduct(asked, metadata=counter.customer)).product == product

    async def test_key_in_the_header_is_the_request_id(self, counter: Counter) -> None:
        header = (("idempotency-key", str(uuid4())),)
        for replayed in (False, True):
            answer = await counter.stub.CreateProduct(counter.new(request_id=""), metadata=(*counter.merchant, *header))
            assert answer.replayed is replayed

    async def test_customer_is_refused_before_the_fields_are_looked_at(self, counter: Counter) -> None:
        before = await counter.bank.rows(TABLES)
        call = counter.stub.CreateProduct(pb.CreateProductRequest(), metadata=counter.customer)
        assert (await refusal_of(call)).why == FORBIDDEN
        assert await counter.bank.rows(TABLES) == before

    async def test_all_that_is_wrong_is_told_at_once(self, counter: Counter) -> None:
        request = pb.CreateProductRequest(name="a\nb", description="x" * 1001, price_minor=-1, initial_quantity=-1)
        refusal = await refusal_of(counter.stub.CreateProduct(request, metadata=counter.merchant))
        assert refusal.why == INVALID
        assert refusal.fields == [
            "request_id",
            "name",
            "description",
            "price_minor",
            "currency_code",
            "settlement_account_id",
            "initial_quantity",
        ]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"price_minor": 0}, "price_minor"),
            ({"price_minor": 10**17 + 1}, "price_minor"),
            ({"initial_quantity": 10**9 + 1}, "initial_quantity"),
        ],
    )
    async def test_value_out_of_bounds_is_refused(
        self, counter: Counter, changes: dict[str, object], field: str
    ) -> None:
        before = await counter.bank.rows(TABLES)
        refusal = await refusal_of(counter.stub.CreateProduct(counter.new(**changes), metadata=counter.merchant))
        assert (refusal.why, refusal.fields) == (INVALID, [field])
        assert await counter.bank.rows(TABLES) == before

    async def test_unknown_currency_is_told_if_nothing_else_is_wrong(self, counter: Counter) -> None:
        refusal = await refusal_of(
            counter.stub.CreateProduct(counter.new(currency_code="XAU"), metadata=counter.merchant)
        )
        assert refusal.why == ("INVALID_ARGUMENT", "UNKNOWN_CURRENCY")


class TestUpdateProduct:
    async def test_price_changes(self, counter: Counter) -> None:
        product = (await counter.stub.CreateProduct(counter.new(), metadata=counter.merchant)).product
        request = pb.UpdateProductRequest(
            product=pb.Product(id=product.id, price_minor=300, version=1, name="not named by the mask"),
            update_mask=FieldMask(paths=["price_minor"]),
        )
        changed = (await counter.stub.UpdateProduct(request, metadata=counter.merchant)).product
        assert (changed.price_minor, changed.version, changed.name) == (300, 2, "Red kite")
        refusal = await refusal_of(counter.stub.UpdateProduct(request, metadata=counter.merchant))
        assert refusal.why == ("ABORTED", "STALE_VERSION")
        assert (await refusal_of(counter.stub.UpdateProduct(request, metadata=counter.customer))).why == FORBIDDEN

    @pytest.mark.parametrize(
        ("paths", "changes"),
        [
            ([], {}),
            (["currency_code"], {"currency_code": "EUR"}),
            (["on_hand"], {"on_hand": 5}),
            (["state"], {}),
            (["name", "name"], {"name": "x"}),
            (["name"], {"name": ""}),
            (["price_minor"], {"price_minor": 0}),
            (["settlement_account_id"], {"settlement_account_id": "x"}),
            (["name"], {"name": "x", "version": -1}),
            (["name"], {"name": "x", "id": "x"}),
        ],
    )
    async def test_malformed_change_is_refused(
        self, counter: Counter, paths: list[str], changes: dict[str, object]
    ) -> None:
        request = pb.UpdateProductRequest(
            product=pb.Product(**{"id": str(uuid4()), **changes}),  # type: ignore[arg-type]  # values by name
            update_mask=FieldMask(paths=paths),
        )
        assert (await refusal_of(counter.stub.UpdateProduct(request, metadata=counter.merchant))).why == INVALID


class TestArchiveProduct:
    async def test_archived_product_is_listed_only_when_asked_for(self, counter: Counter) -> None:
        product = (await counter.stub.CreateProduct(counter.new(), metadata=counter.merchant)).product
        request = pb.ArchiveProductRequest(product_id=product.id)
        for _ in range(2):
            archived = (await counter.stub.ArchiveProduct(request, metadata=counter.merchant)).product
            assert (archived.state, archived.version) == (pb.PRODUCT_STATE_ARCHIVED, 2)
        listed = await counter.stub.ListProducts(pb.ListProductsRequest(), metadata=counter.customer)
        assert list(listed.products) == []
        asked = pb.ListProductsRequest(
            state=pb.PRODUCT_STATE_ARCHIVED, query="KITE", merchant_user_id=str(counter.person.user_id)
        )
        listed = await counter.stub.ListProducts(asked, metadata=counter.customer)
        assert [each.id for each in listed.products] == [product.id]

    async def test_absent_one_is_not_found(self, counter: Counter) -> None:
        request = pb.ArchiveProductRequest(product_id=str(uuid4()))
        assert (await refusal_of(counter.stub.ArchiveProduct(request, metadata=counter.merchant))).why == NOT_FOUND
        request.product_id = "x"
        assert (await refusal_of(counter.stub.ArchiveProduct(request, metadata=counter.merchant))).why == INVALID


class TestAdjustInventory:
    async def test_stock_follows(self, counter: Counter) -> None:
        product = (await counter.stub.CreateProduct(counter.new(), metadata=counter.merchant)).product
        request = pb.AdjustInventoryRequest(product_id=product.id, request_id=str(uuid4()), delta=-2, reason="lost two")
        adjusted = await counter.stub.AdjustInventory(request, metadata=counter.merchant)
        assert (adjusted.product.on_hand, adjusted.product.available, adjusted.replayed) == (5, 5, False)
        assert (await counter.stub.AdjustInventory(request, metadata=counter.merchant)).replayed
        empty = pb.AdjustInventoryRequest(
            product_id=product.id, request_id=str(uuid4()), to_zero=True, reason="counted"
        )
        assert (await counter.stub.AdjustInventory(empty, metadata=counter.merchant)).product.on_hand == 0
        more = pb.AdjustInventoryRequest(product_id=product.id, request_id=str(uuid4()), delta=-1, reason="counted")
        refusal = await refusal_of(counter.stub.AdjustInventory(more, metadata=counter.merchant))
        assert refusal.why == ("FAILED_PRECONDITION", "OUT_OF_STOCK")
        assert refusal.metadata == {"product_ids": product.id, "wanted": "1", "available": "0"}
        again = pb.AdjustInventoryRequest(product_id=product.id, request_id=empty.request_id, delta=1, reason="counted")
        refusal = await refusal_of(counter.stub.AdjustInventory(again, metadata=counter.merchant))
        assert refusal.why == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({}, "delta"),
            ({"delta": 1, "to_zero": True}, "delta"),
            ({"delta": 10**9 + 1}, "delta"),
            ({"delta": -(10**9) - 1}, "delta"),
            ({"delta": 1, "reason": ""}, "reason"),
            ({"delta": 1, "reason": "x" * 201}, "reason"),
            ({"delta": 1, "request_id": ""}, "request_id"),
            ({"delta": 1, "product_id": "x"}, "product_id"),
        ],
    )
    async def test_malformed_adjustment_is_refused(
        self, counter: Counter, changes: dict[str, object], field: str
    ) -> None:
        values = {"product_id": str(uuid4()), "request_id": str(uuid4()), "reason": "counted", **changes}
        request = pb.AdjustInventoryRequest(**values)  # type: ignore[arg-type]  # values by name
        refusal = await refusal_of(counter.stub.AdjustInventory(request, metadata=counter.merchant))
        assert (refusal.why, refusal.fields) == (INVALID, [field])


class TestListProducts:
    async def test_pages_are_followed(self, counter: Counter) -> None:
        for number in range(3):
            await counter.stub.CreateProduct(counter.new(name=f"kite {number}"), metadata=counter.merchant)
        first = await counter.stub.ListProducts(
            pb.ListProductsRequest(page_size=2, merchant_user_id="me"), metadata=counter.merchant
        )
        rest = await counter.stub.ListProducts(
            pb.ListProductsRequest(page_size=2, merchant_user_id="me", page_token=first.next_page_token),
            metadata=counter.merchant,
        )
        assert [each.name for each in (*first.products, *rest.products)] == ["kite 2", "kite 1", "kite 0"]
        assert rest.next_page_token == ""

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"query": "--"}, "query"),
            ({"query": "x" * 101}, "query"),
            ({"merchant_user_id": "x"}, "merchant_user_id"),
            ({"page_size": -1}, "page_size"),
            ({"state": 9}, "state"),
        ],
    )
    async def test_malformed_filter_is_refused(self, counter: Counter, changes: dict[str, object], field: str) -> None:
        request = pb.ListProductsRequest(**changes)  # type: ignore[arg-type]  # values by name
        refusal = await refusal_of(counter.stub.ListProducts(request, metadata=counter.customer))
        assert (refusal.why, refusal.fields) == (INVALID, [field])

    async def test_made_up_token_is_refused(self, counter: Counter) -> None:
        request = pb.ListProductsRequest(page_token="made up")
        refusal = await refusal_of(counter.stub.ListProducts(request, metadata=counter.customer))
        assert refusal.why == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


class TestListInventoryMovements:
    async def moved(self, counter: Counter) -> str:
        """A product with four movements."""
        product_id = (await counter.stub.CreateProduct(counter.new(), metadata=counter.merchant)).product.id
        for delta in (3, -2, 5):
            request = pb.AdjustInventoryRequest(
                product_id=product_id, request_id=str(uuid4()), delta=delta, reason=f"by {delta}"
            )
            await counter.stub.AdjustInventory(request, metadata=counter.merchant)
        return product_id

    async def test_merchant_and_admins_follow_the_pages_from_the_newest(self, counter: Counter) -> None:
        product_id = await self.moved(counter)
        admin = counter.served.signed_in(await counter.bank.person(roles=("DEPOSITOR", "ADMIN")))
        for metadata in (counter.merchant, admin):
            request = pb.ListInventoryMovementsRequest(product_id=product_id, page_size=3)
            first = await counter.stub.ListInventoryMovements(request, metadata=metadata)
            request.page_token = first.next_page_token
            rest = await counter.stub.ListInventoryMovements(request, metadata=metadata)
            movements = [*first.inventory_movements, *rest.inventory_movements]
            assert [each.sequence for each in movements] == [4, 3, 2, 1]
            assert [each.on_hand_change for each in movements] == [5, -2, 3, 7]
            assert [each.on_hand_after for each in movements] == [13, 8, 10, 7]
            assert [each.reason for each in movements] == ["by 5", "by -2", "by 3", "initial quantity"]
            assert {each.kind for each in movements} == {pb.INVENTORY_MOVEMENT_KIND_ADJUSTED}
            assert {(each.product_id, each.user_id, each.order_id) for each in movements} == {
                (product_id, str(counter.person.user_id), "")
            }
            assert movements[0].create_time.ToDatetime() > movements[-1].create_time.ToDatetime()
            assert rest.next_page_token == ""

    async def test_every_kind_that_is_stored_has_its_value(self, counter: Counter) -> None:
        product_id = await self.moved(counter)
        kinds = ("RESERVED", "RELEASED", "SHIPPED", "RESTOCKED")
        for number, kind in enumerate(kinds):
            await counter.bank.as_owner(
                "INSERT INTO inventory_movements (product_id, sequence, kind, on_hand_change, reserved_change,"
                " on_hand_after, reserved_after, order_id, reason) VALUES ($1, $2, $3, 1, 0, 1, 0, $1, '')",
                UUID(product_id),
                5 + number,
                kind,
            )
        request = pb.ListInventoryMovementsRequest(product_id=product_id, page_size=len(kinds))
        found = (await counter.stub.ListInventoryMovements(request, metadata=counter.merchant)).inventory_movements
        assert [pb.InventoryMovementKind.Name(each.kind).rpartition("_")[2] for each in found] == [*kinds[::-1]]
        assert {(each.order_id, each.user_id) for each in found} == {(product_id, "")}

    async def test_refusals_come_in_the_documented_order(self, counter: Counter) -> None:
        product_id = await self.moved(counter)
        other = counter.served.signed_in(await counter.bank.person(roles=("DEPOSITOR", "MERCHANT")))

        async def why(metadata: Metadata, **fields: object) -> tuple[str, str]:
            request = pb.ListInventoryMovementsRequest(**fields)  # type: ignore[arg-type]  # values by name
            return (await refusal_of(counter.stub.ListInventoryMovements(request, metadata=metadata))).why

        assert await why(counter.customer, product_id="x") == FORBIDDEN
        assert await why(counter.customer, product_id=product_id) == FORBIDDEN
        assert await why(other, product_id="x", page_size=-1) == INVALID
        assert await why(other, product_id=str(uuid4()), page_token="made up") == NOT_FOUND
        assert await why(other, product_id=product_id, page_token="made up") == FORBIDDEN
        made_up = ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
        assert await why(counter.merchant, product_id=product_id, page_token="made up") == made_up
