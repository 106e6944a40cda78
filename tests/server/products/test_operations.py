"""Products on a real database: offered, changed, archived, counted, found."""

import asyncio
import json
from uuid import UUID, uuid4

import pytest

from server.caller import Role
from server.errors import (
    AccountClosed,
    CurrencyMismatch,
    Forbidden,
    InvalidPageToken,
    InvalidRequest,
    NotFound,
    RequestIdReused,
    StaleVersion,
)
from server.products.errors import OutOfStock, ProductArchived
from server.products.operations import ACTIVE, ARCHIVED, Adjustment, ProductChange, ProductFilter
from server.products.stock import ON_HAND_MAX, Cause, Change, Kind, lock_products, move_stock
from server.request_ids import Request
from tests.server.bank import Bank, caller
from tests.server.products.conftest import Shop


async def events(bank: Bank, product_id: UUID) -> list[tuple[str, dict[str, object]]]:
    rows = await bank.pool.fetch("SELECT type, data FROM events WHERE subject_id = $1 ORDER BY id", product_id)
    return [(row["type"], json.loads(row["data"])) for row in rows]


async def movements(bank: Bank, product_id: UUID) -> list[tuple[object, ...]]:
    rows = await bank.pool.fetch(
        "SELECT sequence, kind, on_hand_change, reserved_change, on_hand_after, reserved_after, user_id, reason"
        " FROM inventory_movements WHERE product_id = $1 ORDER BY sequence",
        product_id,
    )
    return [tuple(row) for row in rows]


def adjustment(shop: Shop, product_id: UUID, delta: int | None, request_id: UUID | None = None) -> Adjustment:
    request = Request(shop.merchant.user_id, request_id or uuid4(), "test/AdjustInventory", str(delta).encode())
    return Adjustment(request, product_id, delta, "counted")


async def reserve(shop: Shop, product_id: UUID, quantity: int) -> None:
    """As an order does."""

    async def work(connection: object) -> None:
        await lock_products(connection, [product_id])  # type: ignore[arg-type]  # the database lends it
        cause = Cause(Kind.RESERVED, None, uuid4())
        await move_stock(connection, {product_id: Change(reserved=quantity)}, cause)  # type: ignore[arg-type]

    await shop.bank.database.transaction(work)


def listed(query: str = "", merchant: UUID | None = None, state: str = ACTIVE, size: int = 50) -> ProductFilter:
    return ProductFilter(query, merchant, state, size, "")


class TestCreate:
    async def test_it_belongs_to_the_owner_of_the_settlement_account(self, bank: Bank, shop: Shop) -> None:
        product, replayed = await shop.products.create(shop.new(initial_quantity=7), shop.caller)
        assert (product.merchant_user_id, product.on_hand, product.reserved) == (shop.merchant.user_id, 7, 0)
        assert (product.state, product.version, replayed) == ("ACTIVE", 1, False)
        facts = {"name": "Red kite", "price_minor": 250, "currency_code": "USD", "initial_quantity": 7}
        assert await events(bank, product.id) == [("product.created", facts)]
        assert await movements(bank, product.id) == [
            (1, "ADJUSTED", 7, 0, 7, 0, shop.merchant.user_id, "initial quantity")
        ]

    async def test_without_pieces_there_is_no_movement(self, bank: Bank, shop: Shop) -> None:
        assert await movements(bank, await shop.product()) == []

    async def test_repeated_request_id_returns_the_first_as_it_is_now(self, bank: Bank, shop: Shop) -> None:
        new = shop.new(initial_quantity=7)
        first, _ = await shop.products.create(new, shop.caller)
        await shop.products.adjust(adjustment(shop, first.id, -3), shop.caller)
        before = await shop.everything()
        again, replayed = await shop.products.create(new, shop.caller)
        assert (again.id, again.on_hand, replayed) == (first.id, 4, True)
        assert await shop.everything() == before

    async def test_of_equal_calls_at_once_one_creates(self, bank: Bank, shop: Shop) -> None:
        new = shop.new()
        results = await asyncio.gather(*(shop.products.create(new, shop.caller) for _ in range(8)))
        assert len({product.id for product, _ in results}) == 1
        assert sorted(replayed for _, replayed in results) == [False] + [True] * 7
        assert await bank.pool.fetchval("SELECT count(*) FROM products") == 1

    async def test_admin_offers_for_a_merchant(self, bank: Bank, shop: Shop) -> None:
        admin = caller(await bank.person(), Role.ADMIN)
        product, _ = await shop.products.create(shop.new(), admin)
        assert product.merchant_user_id == shop.merchant.user_id

    async def test_refusals_come_in_order(self, bank: Bank, shop: Shop) -> None:
        taken = shop.new().request
        await shop.products.create(shop.new(request=taken), shop.caller)
        other = taken._replace(fingerprint=b"other")
        stranger = await bank.person(roles=("DEPOSITOR", "MERCHANT"))
        foreign = await bank.account(stranger)
        unsold = await bank.account(await bank.person())
        closed = await bank.account(shop.merchant)
        await bank.pool.execute("UPDATE accounts SET state = 'CLOSED' WHERE id = $1", closed)
        admin = caller(await bank.person(), Role.ADMIN)
        create = shop.products.create
        await shop.refused(create(shop.new(request=other, settlement_account_id=foreign), shop.caller), RequestIdReused)
        await shop.refused(create(shop.new(settlement_account_id=foreign), shop.caller), NotFound)
        await shop.refused(create(shop.new(settlement_account_id=uuid4()), admin), NotFound)
        await shop.refused(create(shop.new(settlement_account_id=unsold, currency_code="EUR"), admin), Forbidden)
        await shop.refused(
            create(shop.new(settlement_account_id=closed, currency_code="EUR"), shop.caller), AccountClosed
        )
        await shop.refused(create(shop.new(currency_code="EUR"), shop.caller), CurrencyMismatch)

    async def test_cash_account_settles_nothing(self, bank: Bank, shop: Shop) -> None:
        admin = caller(await bank.person(), Role.ADMIN)
        new = shop.new(settlement_account_id=bank.reference.cash_account("USD"))
        await shop.refused(shop.products.create(new, admin), NotFound)

    async def test_refused_call_leaves_its_request_id_usable(self, bank: Bank, shop: Shop) -> None:
        new = shop.new(currency_code="EUR")
        await shop.refused(shop.products.create(new, shop.caller), CurrencyMismatch)
        _, replayed = await shop.products.create(shop.new(request=new.request), shop.caller)
        assert not replayed


class TestUpdate:
    async def test_what_is_named_changes(self, bank: Bank, shop: Shop) -> None:
        product_id = await shop.product()
        account_id = await bank.account(shop.merchant)
        change = ProductChange(product_id, 1, name="Blue kite", price_minor=300, settlement_account_id=account_id)
        product = await shop.products.update(change, shop.caller)
        assert (product.name, product.price_minor, product.settlement_account_id) == ("Blue kite", 300, account_id)
        assert (product.version, product.search_words) == (2, "blue kite")
        facts = {
            "name": "Blue kite",
            "price_minor": 300,
            "currency_code": "USD",
            "version": 2,
            "fields": ["name", "price_minor", "settlement_account_id"],
        }
        assert (await events(bank, product_id))[1:] == [("product.updated", facts)]

    async def test_change_of_nothing_leaves_the_version(self, bank: Bank, shop: Shop) -> None:
        product_id = await shop.product()
        change = ProductChange(product_id, 0, name="Red kite", price_minor=250)
        assert (await shop.products.update(change, shop.caller)).version == 1
        assert len(await events(bank, product_id)) == 1

    async def test_refusals_come_in_order(self, bank: Bank, shop: Shop) -> None:
        product_id, archived = await shop.product(), await shop.product()
        await shop.products.archive(archived, shop.caller)
        stranger = caller(await bank.person(), Role.MERCHANT)
        foreign = await bank.account(await bank.person())
        closed, euros = await bank.account(shop.merchant), await bank.account(shop.merchant, currency_code="EUR")
        await bank.pool.execute("UPDATE accounts SET state = 'CLOSED' WHERE id = $1", closed)
        update = shop.products.update
        await shop.refused(update(ProductChange(uuid4(), 0, name="x"), shop.caller), NotFound)
        await shop.refused(update(ProductChange(archived, 9, name="x"), stranger), Forbidden)
        await shop.refused(update(ProductChange(archived, 9, name="x"), shop.caller), ProductArchived)
        late = ProductChange(product_id, 9, settlement_account_id=foreign)
        assert (await shop.refused(update(late, shop.caller), StaleVersion)).metadata == {"version": "1"}
        for account_id, error in ((foreign, NotFound), (closed, AccountClosed), (euros, CurrencyMismatch)):
            change = ProductChange(product_id, 1, settlement_account_id=account_id)
            await shop.refused(update(change, shop.caller), error)

    async def test_of_many_changes_from_one_version_one_is_made(self, shop: Shop) -> None:
        product_id = await shop.product()
        results = await asyncio.gather(
            *(shop.products.update(ProductChange(product_id, 1, price_minor=n + 1), shop.caller) for n in range(8)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, StaleVersion) for result in results) == 7
        assert (await shop.stored(product_id)).version == 2


class TestArchive:
    async def test_it_ends_the_sale_once(self, bank: Bank, shop: Shop) -> None:
        product_id = await shop.product()
        first = await shop.products.archive(product_id, shop.caller)
        assert (first.state, first.version) == ("ARCHIVED", 2)
        assert await shop.products.archive(product_id, shop.caller) == first
        assert [kind for kind, _ in await events(bank, product_id)] == ["product.created", "product.archived"]

    async def test_refusals_come_in_order(self, bank: Bank, shop: Shop) -> None:
        product_id = await shop.product()
        await shop.refused(shop.products.archive(uuid4(), shop.caller), NotFound)
        stranger = caller(await bank.person(), Role.MERCHANT)
        await shop.refused(shop.products.archive(product_id, stranger), Forbidden)

    async def test_admin_archives_anybodys(self, bank: Bank, shop: Shop) -> None:
        product_id = await shop.product()
        admin = caller(await bank.person(), Role.ADMIN)
        assert (await shop.products.archive(product_id, admin)).state == "ARCHIVED"


class TestAdjust:
    async def test_pieces_are_added_and_taken(self, bank: Bank, shop: Shop) -> None:
        product_id = await shop.product(5)
        for delta, expected in ((3, 8), (-8, 0), (2, 2), (None, 0)):
            product, replayed = await shop.products.adjust(adjustment(shop, product_id, delta), shop.caller)
            assert (product.on_hand, replayed) == (expected, False)
        user = shop.merchant.user_id
        assert (await movements(bank, product_id))[1:] == [
            (2, "ADJUSTED", 3, 0, 8, 0, user, "counted"),
            (3, "ADJUSTED", -8, 0, 0, 0, user, "counted"),
            (4, "ADJUSTED", 2, 0, 2, 0, user, "counted"),
            (5, "ADJUSTED", -2, 0, 0, 0, user, "counted"),
        ]
        facts = {"delta": 3, "on_hand": 8, "reserved": 0, "reason": "counted"}
        assert (await events(bank, product_id))[1] == ("inventory.adjusted", facts)
        # Counting is no change of what is offered.
        assert (await shop.stored(product_id)).version == 1

    async def test_zero_set_to_zero_moves_nothing(self, bank: Bank, shop: Shop) -> None:
        product_id = await shop.product()
        product, _ = await shop.products.adjust(adjustment(shop, product_id, None), shop.caller)
        assert (product.on_hand, await movements(bank, product_id)) == (0, [])

    async def test_repeated_request_id_adjusts_once(self, bank: Bank, shop: Shop) -> None:
        product_id = await shop.product(5)
        same = adjustment(shop, product_id, 3)
        results = await asyncio.gather(*(shop.products.adjust(same, shop.caller) for _ in range(8)))
        assert sorted(replayed for _, replayed in results) == [False] + [True] * 7
        assert await shop.stock(product_id) == (8, 0)
        other = adjustment(shop, product_id, 4, same.request.request_id)
        await shop.refused(shop.products.adjust(other, shop.caller), RequestIdReused)

    async def test_refusals_come_in_order(self, bank: Bank, shop: Shop) -> None:
        product_id = await shop.product(5)
        await reserve(shop, product_id, 2)
        stranger = caller(await bank.person(), Role.MERCHANT)
        adjust = shop.products.adjust
        await shop.refused(adjust(adjustment(shop, uuid4(), -4), shop.caller), NotFound)
        await shop.refused(adjust(adjustment(shop, product_id, -4), stranger), Forbidden)
        short = await shop.refused(adjust(adjustment(shop, product_id, -4), shop.caller), OutOfStock)
        assert short.metadata == {"product_ids": str(product_id), "wanted": "4", "available": "3"}
        await shop.refused(adjust(adjustment(shop, product_id, None), shop.caller), OutOfStock)
        await shop.refused(adjust(adjustment(shop, product_id, ON_HAND_MAX - 4), shop.caller), InvalidRequest)
        product, _ = await adjust(adjustment(shop, product_id, -3), shop.caller)
        assert (product.on_hand, product.reserved) == (2, 2)

    async def test_archived_stock_is_still_counted(self, shop: Shop) -> None:
        product_id = await shop.product(5)
        await shop.products.archive(product_id, shop.caller)
        product, _ = await shop.products.adjust(adjustment(shop, product_id, None), shop.caller)
        assert product.on_hand == 0

    async def test_racing_adjustments_lose_nothing(self, bank: Bank, shop: Shop) -> None:
        product_id = await shop.product(10)
        await asyncio.gather(
            *(shop.products.adjust(adjustment(shop, product_id, delta), shop.caller) for delta in [1, 2, 3, -1, -2] * 6)
        )
        assert await shop.stock(product_id) == (28, 0)
        rows = await movements(bank, product_id)
        assert [row[0] for row in rows] == list(range(1, 32))
        assert sum(int(str(row[2])) for row in rows) == 28


class TestPage:
    async def test_newest_first_and_nothing_twice(self, shop: Shop) -> None:
        ids = [await shop.product(name=f"kite {n}") for n in range(5)]
        seen, token = [], ""
        while True:
            rows, token = await shop.products.page(ProductFilter("", None, ACTIVE, 2, token), shop.caller)
            seen += [row.id for row in rows]
            if not token:
                break
        assert seen == ids[::-1]

    async def test_every_word_of_the_query_begins_a_word_of_the_name(self, shop: Shop) -> None:
        names = ("Red kite", "red KITE string", "Reddish kitten", "Äpfel, 3.5 kg", "don't & panic | !now")
        ids = {name: await shop.product(name=name) for name in names}

        async def found(query: str) -> list[UUID]:
            rows, _ = await shop.products.page(listed(query), shop.caller)
            return [row.id for row in rows]

        assert await found("red KIT") == [ids["Reddish kitten"], ids["red KITE string"], ids["Red kite"]]
        assert await found("kite str") == [ids["red KITE string"]]
        assert await found("äPF") == await found("5 kg") == [ids["Äpfel, 3.5 kg"]]
        assert await found("don't") == [ids["don't & panic | !now"]]
        assert await found("ite") == []

    async def test_filters_add_up(self, bank: Bank, shop: Shop) -> None:
        other = await Shop(bank).begin()
        mine, archived, theirs = await shop.product(), await shop.product(), await other.product()
        await shop.products.archive(archived, shop.caller)
        for wanted, expected in (
            (listed(), [theirs, mine]),
            (listed("kite"), [theirs, mine]),
            (listed(merchant=shop.merchant.user_id), [mine]),
            (listed("kite", merchant=shop.merchant.user_id), [mine]),
            (listed(state=ARCHIVED), [archived]),
            (listed("kite", state=ARCHIVED), [archived]),
            (listed(merchant=other.merchant.user_id, state=ARCHIVED), []),
        ):
            rows, token = await shop.products.page(wanted, other.caller)
            assert ([row.id for row in rows], token) == (expected, "")

    async def test_token_is_good_for_its_filter_and_caller_only(self, bank: Bank, shop: Shop) -> None:
        for _ in range(2):
            await shop.product()
        _, token = await shop.products.page(listed("kite", size=1), shop.caller)
        assert token
        for wanted, asker in (
            (ProductFilter("red", None, ACTIVE, 1, token), shop.caller),
            (ProductFilter("kite", None, ARCHIVED, 1, token), shop.caller),
            (ProductFilter("kite", None, ACTIVE, 1, token), caller(await bank.person())),
        ):
            with pytest.raises(InvalidPageToken):
                await shop.products.page(wanted, asker)
