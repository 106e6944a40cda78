"""The shop, the basket and what becomes of orders."""

import asyncio
import json
import re
from typing import Any
from uuid import uuid4

from playwright.async_api import Locator, Route, expect

from tests.browser.conftest import Shopkeeper, Visit, Visiting, lose_answer
from tests.e2e.stage import Someone, Stage

Customer = tuple[Someone, str]


async def shopping(visit: Visiting, customer: Customer, product: dict[str, Any]) -> Visit:
    """In the shop, the product found and in the basket."""
    someone = await visit()
    await someone.sign_in(customer[0].username, "#/shop")
    # What was typed is read a moment later; from then on the shop reads nothing by itself.
    async with someone.page.expect_response(lambda response: "/v1/products?query=" in response.url):
        await someone.page.get_by_role("searchbox").fill(product["name"])
    await expect(someone.page.get_by_text("1 product", exact=True)).to_be_attached()
    await someone.page.get_by_role("button", name=f"Add {product['name']} to the basket").click()
    return someone


def card(someone: Visit, product: dict[str, Any]) -> Locator:
    heading = someone.page.get_by_role("heading", name=product["name"])
    return someone.page.get_by_role("list", name="Your orders").get_by_role("listitem").filter(has=heading)


async def placed(stage: Stage, customer: Customer, product: dict[str, Any], quantity: int = 1) -> str:
    """An order made through the API."""
    items = [{"product_id": product["id"], "quantity": quantity}]
    fields = {"payment_account_id": customer[1], "items": items, "request_id": str(uuid4())}
    return str((await stage.done("CreateOrder", fields, customer[0].token))["order"]["id"])


async def ordered_times(stage: Stage, customer: Customer) -> int:
    count = "SELECT count(*) FROM orders WHERE buyer_user_id = $1"
    return int(await stage.bank.owner.fetchval(count, customer[0].user_id))


async def reprice(shopkeeper: Shopkeeper, price_minor: int) -> None:
    product = {"id": shopkeeper.product["id"], "price_minor": price_minor}
    fields = {"product": product, "update_mask": "priceMinor"}
    await shopkeeper.stage.done("UpdateProduct", fields, shopkeeper.merchant.token)


async def order_at_the_price_of_before(someone: Visit) -> Locator:
    """Be refused and shown the price of now, 30 dollars; the basket."""
    basket = someone.page.get_by_role("region", name="Basket")
    await basket.get_by_role("button", name="Place the order").click()
    await expect(basket.get_by_role("alert")).to_contain_text("The price has changed: it is $30.00 now.")
    await expect(basket.locator("p.total")).to_contain_text("$30.00")
    return basket


async def many_products(stage: Stage, shopkeeper: Shopkeeper) -> str:
    """A word that finds a page of 24 products, and the shopkeeper's on the next page."""
    word = str(shopkeeper.product["name"]).removeprefix("Kite ")
    account_id = shopkeeper.product["settlement_account_id"]
    for _ in range(24):
        await stage.product(account_id)
    await stage.bank.owner.execute(
        "UPDATE products SET name = 'Heron ' || $1, search_words = 'heron ' || $1"
        " WHERE settlement_account_id = $2 AND name = 'Kite'",
        *(word, account_id),
    )
    return word


class TestBasket:
    async def test_order_beyond_the_stock_shows_what_is_left(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        someone = await shopping(visit, customer, shopkeeper.product)
        someone.refused.add((400, "/v1/orders"))
        basket = someone.page.get_by_role("region", name="Basket")
        await someone.page.get_by_role("button", name="One more").click()
        adjustment = {"product_id": shopkeeper.product["id"], "request_id": str(uuid4()), "delta": -9, "reason": "Lost"}
        await stage.done("AdjustInventory", adjustment, shopkeeper.merchant.token)
        await basket.get_by_role("button", name="Place the order").click()
        await expect(basket.get_by_role("alert")).to_contain_text("There is less in stock than you want.")
        await expect(basket).to_contain_text("Only 1 left")
        await someone.page.get_by_role("button", name="One less").click()
        await basket.get_by_role("button", name="Place the order").click()
        await expect(card(someone, shopkeeper.product)).to_contain_text("$25.00")

    async def test_price_that_changed_is_shown_before_anything_is_ordered(
        self, visit: Visiting, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        someone = await shopping(visit, customer, shopkeeper.product)
        someone.refused.add((400, "/v1/orders"))
        await reprice(shopkeeper, 3_000)
        await order_at_the_price_of_before(someone)

    async def test_too_dear_an_order_names_both_amounts(
        self, visit: Visiting, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        someone = await shopping(visit, customer, shopkeeper.product)
        someone.refused.add((400, "/v1/orders"))
        for _ in range(4):
            await someone.page.get_by_role("button", name="One more").click()
        basket = someone.page.get_by_role("region", name="Basket")
        await basket.get_by_role("button", name="Place the order").click()
        await expect(basket.get_by_role("alert")).to_have_text(
            "The account has not enough money: $125.00 needed, $100.00 available."
        )

    async def test_products_of_two_merchants_do_not_go_together(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        other = await stage.someone("MERCHANT")
        await stage.product(await stage.account(other, 0))
        someone = await shopping(visit, customer, shopkeeper.product)
        await someone.page.get_by_role("searchbox").fill("kite")
        await someone.page.get_by_role("button", name="Add Kite to the basket", exact=True).first.click()
        await expect(someone.notice("One order holds products of one seller and one currency.")).to_be_visible()
        await expect(someone.page.get_by_role("list", name="In the basket").get_by_role("listitem")).to_have_count(1)

    async def test_answer_that_was_lost_orders_once(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        someone = await shopping(visit, customer, shopkeeper.product)
        await someone.page.route("**/v1/orders", lose_answer, times=1)
        basket = someone.page.get_by_role("region", name="Basket")
        await basket.get_by_role("button", name="Place the order").click()
        await expect(basket.get_by_role("alert")).to_contain_text("It is ordered once, however often you send it.")
        await basket.get_by_role("button", name="Place the order").click()
        await expect(card(someone, shopkeeper.product)).to_have_count(1)
        sent = [request for request in someone.sent("/v1/orders") if request.method == "POST"]
        assert len({json.loads(request.post_data or "")["request_id"] for request in sent}) == 1
        assert len(sent) == 2
        assert await ordered_times(stage, customer) == 1

    async def test_answer_that_was_lost_orders_once_though_the_shop_was_left(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        savings = await stage.account(customer[0], 10_000)
        someone = await shopping(visit, customer, shopkeeper.product)
        await someone.page.route("**/v1/orders", lose_answer, times=1)
        basket = someone.page.get_by_role("region", name="Basket")
        await basket.get_by_label("Pay from").select_option(savings)
        await basket.get_by_role("button", name="Place the order").click()
        await expect(basket.get_by_role("alert")).to_contain_text("It is ordered once, however often you send it.")
        await someone.open("Orders")
        # Another price does not make it another order.
        await reprice(shopkeeper, 3_000)
        await someone.open("Shop")
        await expect(basket.locator("p.total")).to_contain_text("$30.00")
        await basket.get_by_role("button", name="Place the order").click()
        await expect(someone.notice("This was ordered before, and is ordered once.")).to_be_visible()
        await expect(card(someone, shopkeeper.product)).to_have_count(1)
        assert await ordered_times(stage, customer) == 1
        held = "SELECT sum(held_minor) FROM accounts WHERE owner_user_id = $1"
        assert await stage.bank.owner.fetchval(held, customer[0].user_id) == 2_500

        # What was ordered is meant no more: the same basket is another order.
        await someone.open("Shop")
        await someone.page.get_by_role("button", name=f"Add {shopkeeper.product['name']} to the basket").click()
        await basket.get_by_label("Pay from").select_option(savings)
        await basket.get_by_role("button", name="Place the order").click()
        await expect(card(someone, shopkeeper.product)).to_have_count(2)

    async def test_price_that_changed_is_learned_of_what_is_not_listed(
        self, visit: Visiting, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        someone = await shopping(visit, customer, shopkeeper.product)
        someone.refused.add((400, "/v1/orders"))
        await reprice(shopkeeper, 3_000)
        await someone.page.get_by_role("searchbox").fill(uuid4().hex)
        await expect(someone.page.get_by_role("main")).to_contain_text("Nothing found")
        basket = await order_at_the_price_of_before(someone)
        await basket.get_by_role("button", name="Place the order").click()
        await expect(card(someone, shopkeeper.product)).to_contain_text("$30.00")

    async def test_product_that_is_sold_no_more_is_marked_and_can_be_taken_out(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        someone = await shopping(visit, customer, shopkeeper.product)
        someone.refused.add((400, "/v1/orders"))
        await stage.done("ArchiveProduct", {"product_id": shopkeeper.product["id"]}, shopkeeper.merchant.token)
        basket = someone.page.get_by_role("region", name="Basket")
        await basket.get_by_role("button", name="Place the order").click()
        await expect(basket.get_by_role("alert")).to_contain_text("One of the products is not sold any more.")
        await expect(basket.get_by_role("listitem")).to_contain_text("Not sold any more")
        await expect(someone.page.get_by_role("list", name="Products")).not_to_contain_text(shopkeeper.product["name"])
        await basket.get_by_role("button", name="One less").click()
        await expect(basket).to_contain_text("It is empty.")


class TestPages:
    async def test_next_page_is_listed_once_and_teaches_the_basket(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        word = await many_products(stage, shopkeeper)
        someone = await shopping(visit, customer, shopkeeper.product)
        products = someone.page.get_by_role("list", name="Products").get_by_role("listitem")
        await someone.page.get_by_role("searchbox").fill(word)
        await expect(products).to_have_count(24)
        await reprice(shopkeeper, 3_000)
        await someone.page.get_by_role("button", name="Show more products").dblclick()
        await expect(someone.page.get_by_role("button", name="Show more products")).to_be_hidden()
        await expect(products).to_have_count(25)
        assert len([request for request in someone.sent("/v1/products") if "page_token=" in request.url]) == 1
        await expect(someone.page.get_by_role("region", name="Basket").locator("p.total")).to_contain_text("$30.00")

    async def test_next_page_of_what_is_looked_for_no_more_is_left_out(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        word = await many_products(stage, shopkeeper)
        someone = await shopping(visit, customer, shopkeeper.product)
        page = someone.page
        products = page.get_by_role("list", name="Products").get_by_role("listitem")
        await page.get_by_role("searchbox").fill(word)
        await expect(products).to_have_count(24)
        searched = asyncio.Event()

        async def answer_late(route: Route) -> None:
            await searched.wait()
            await route.continue_()

        await page.route("**/v1/products?*page_token=*", answer_late)
        await page.get_by_role("button", name="Show more products").click()
        await page.get_by_role("searchbox").fill(shopkeeper.product["name"])
        await expect(page.get_by_text("1 product", exact=True)).to_be_attached()
        async with page.expect_response(lambda response: "page_token=" in response.url) as late:
            searched.set()
        await (await late.value).finished()
        # By the time a later call is answered, this answer has been dealt with.
        await page.evaluate("fetch('/healthz').then((response) => response.text())")
        await expect(products).to_have_count(1)
        await expect(page.get_by_role("button", name="Show more products")).to_be_hidden()


class TestOrders:
    async def test_order_canceled_after_a_question_sets_the_money_free(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        await placed(stage, customer, shopkeeper.product)
        someone = await visit()
        await someone.sign_in(customer[0].username, "#/orders")
        cancel = card(someone, shopkeeper.product).get_by_role("button", name="Cancel")
        dialog = someone.page.get_by_role("dialog", name="Cancel the order?")
        await cancel.click()
        await someone.page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        await expect(card(someone, shopkeeper.product)).to_contain_text("Being prepared")
        await cancel.click()
        await dialog.get_by_role("button", name="Cancel the order").click()
        await expect(card(someone, shopkeeper.product).locator(".chip")).to_have_text("Canceled")
        await expect(card(someone, shopkeeper.product)).to_contain_text("Not paid: the money is free again")
        assert await stage.bank.owner.fetchval("SELECT held_minor FROM accounts WHERE id = $1", customer[1]) == 0

    async def test_order_shipped_meanwhile_cannot_be_canceled_and_shows_so(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        order_id = await placed(stage, customer, shopkeeper.product)
        someone = await visit()
        someone.refused.add((400, f"/v1/orders/{order_id}:cancel"))
        await someone.page.route("**/v1/events:watch", lambda route: route.abort())
        await someone.sign_in(customer[0].username, "#/orders")
        await card(someone, shopkeeper.product).get_by_role("button", name="Cancel").click()
        await shopkeeper.ship(order_id)
        await someone.page.get_by_role("dialog").get_by_role("button", name="Cancel the order").click()
        await expect(someone.notice("The order has moved on")).to_be_visible()
        await expect(card(someone, shopkeeper.product).locator(".chip")).to_have_text("On its way")

    async def test_two_pages_show_each_step_as_it_happens(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        order_id = await placed(stage, customer, shopkeeper.product)
        pages = [await visit(), await visit(color_scheme="dark")]
        for each in pages:
            await each.sign_in(customer[0].username, "#/orders")
            await each.live()
            await expect(card(each, shopkeeper.product)).to_contain_text("Being prepared")
        await shopkeeper.ship(order_id)
        for each in pages:
            await expect(card(each, shopkeeper.product).locator(".chip")).to_have_text("On its way")
            steps = card(each, shopkeeper.product).get_by_role("list", name="Progress").get_by_role("listitem")
            await expect(steps).to_have_text(
                [re.compile("Ordered"), re.compile(r"Shipped \(done\)"), re.compile("Delivered")]
            )
        refund = {"order_id": order_id, "request_id": str(uuid4()), "amount_minor": 1_000}
        await stage.done("RefundOrder", refund, shopkeeper.merchant.token)
        for each in pages:
            await expect(card(each, shopkeeper.product)).to_contain_text("Partly paid back ($10.00)")

    async def test_list_that_could_not_be_read_can_be_asked_for_again(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        await placed(stage, customer, shopkeeper.product)
        someone = await visit()
        await someone.page.route("**/v1/orders?*", lambda route: route.abort(), times=1)
        await someone.sign_in(customer[0].username, "#/orders")
        problem = someone.page.get_by_role("alert")
        await expect(problem).to_contain_text("The service cannot be reached.")
        await problem.get_by_role("button", name="Try again").click()
        await expect(card(someone, shopkeeper.product)).to_contain_text("Being prepared")
        await expect(problem).to_have_count(0)
        await expect(someone.page.get_by_role("heading", name="Orders")).to_be_focused()


class TestQuestion:
    async def test_question_is_withdrawn_when_another_view_is_shown(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        await placed(stage, customer, shopkeeper.product)
        someone = await visit()
        await someone.sign_in(customer[0].username)
        await someone.open("Orders")
        await card(someone, shopkeeper.product).get_by_role("button", name="Cancel").click()
        await expect(someone.page.get_by_role("dialog")).to_be_visible()
        await someone.page.go_back()
        await expect(someone.page.get_by_role("heading", name="Accounts")).to_be_focused()
        await expect(someone.page.locator("dialog")).to_have_count(0)
        await someone.page.get_by_role("button", name="Open an account").click()
        await expect(someone.page.get_by_role("dialog")).to_be_visible()
        await someone.page.go_forward()
        await expect(someone.page.get_by_role("heading", name="Orders")).to_be_focused()
        await expect(someone.page.locator("dialog")).to_have_count(0)
        await expect(card(someone, shopkeeper.product)).to_contain_text("Being prepared")

    async def test_question_is_withdrawn_when_the_session_ends(
        self, visit: Visiting, stage: Stage, customer: Customer, shopkeeper: Shopkeeper
    ) -> None:
        order_id = await placed(stage, customer, shopkeeper.product)
        someone = await visit()
        someone.refused.add((401, "/v1/sessions:refresh"))
        await someone.sign_in(customer[0].username, "#/orders")
        await someone.live()
        await card(someone, shopkeeper.product).get_by_role("button", name="Cancel").click()
        await expect(someone.page.get_by_role("dialog")).to_be_visible()
        await stage.done("RevokeAllSessions", {}, customer[0].token)
        await expect(someone.page.get_by_role("heading", name="Sign in")).to_be_focused()
        await expect(someone.page.locator("dialog")).to_have_count(0)
        assert someone.sent(f"/v1/orders/{order_id}:cancel") == []
