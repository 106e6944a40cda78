"""The whole way of a new customer, from signing up to signing out."""

from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Shopkeeper, Visit, Visiting
from tests.e2e.stage import Someone, Stage
from tests.mailed_links import VERIFY_PAGE, token_mailed_to

PASSWORD = "seven blue herons at dusk"
NAME = "Dora Journey"


async def sign_up(someone: Visit, username: str, email: str) -> None:
    page = someone.page
    await page.goto(someone.origin)
    await page.get_by_role("link", name="Open an account").click()
    await page.get_by_label("Your name").fill(NAME)
    await page.get_by_label("User name").fill(username)
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign up").click()
    await expect(page.get_by_role("heading", name="Look at your mail")).to_be_focused()
    await expect(page.get_by_role("main")).to_contain_text(email)


async def sign_in_and_open_the_link(someone: Visit, stage: Stage, username: str, email: str) -> None:
    """The link is opened in another tab, while the page tells that it is waited for."""
    page = someone.page
    await page.get_by_role("link", name="Sign in").click()
    await page.get_by_label("User name").fill(username)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    banner = page.get_by_role("complementary", name="E-mail not proven")
    await expect(banner).to_contain_text(email)
    await someone.live()
    token = await token_mailed_to(stage.bank.stack.mail_dir, email, VERIFY_PAGE)
    other_tab = await page.context.new_page()
    await other_tab.goto(f"{someone.origin}/{VERIFY_PAGE}#token={token}")
    await expect(other_tab.get_by_role("status")).to_contain_text("is verified")
    await other_tab.close()
    await expect(banner).to_have_count(0)


async def receive_money(someone: Visit, stage: Stage, username: str) -> None:
    page = someone.page
    # The first account is opened by the worker; money comes in while the page is open.
    await expect(page.get_by_role("list", name="Your accounts").get_by_role("listitem")).to_have_count(1)
    answer = await stage.bank.grpc.call("CreateSession", {"username": username, "password": PASSWORD})
    accounts = await stage.done("ListAccounts", {}, answer.reply["access_token"])
    account_id = accounts["accounts"][0]["id"]
    fields = {"account_id": account_id, "amount_minor": 20_000, "currency_code": "USD", "request_id": account_id}
    await stage.done("DepositFunds", {**fields, "description": "Cash"}, stage.banker)
    await expect(page.locator(".account .figure")).to_contain_text("$200.00")
    await expect(page.locator(".rows")).to_contain_text("Cash")


async def pay(someone: Visit, stage: Stage, payee: tuple[Someone, str]) -> None:
    page = someone.page
    await someone.open("Pay")
    await page.get_by_label("To").fill(payee[0].username)
    await page.get_by_label("Amount in USD").fill("12.50")
    await page.get_by_label("Message").fill("Lunch")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_role("heading", name="Check and send")).to_be_focused()
    await expect(someone.fact("To")).to_have_text(f"S… ({payee[0].username})")
    await page.get_by_role("button", name="Send $12.50").click()
    await expect(page.get_by_role("heading", name="Sent")).to_be_focused()
    assert await stage.bank.posted_minor(payee[1]) == 1_250


async def read_the_statement(someone: Visit) -> None:
    """It shows both movements, as a picture and in a table."""
    page = someone.page
    await page.get_by_role("link", name="See the statement").click()
    await expect(someone.fact("Money in")).to_have_text("$200.00")
    await expect(someone.fact("Money out")).to_have_text("$12.50")
    picture = page.get_by_role("img", name="The balance went from $0.00 to $187.50")
    await expect(picture).to_be_visible()
    rows = page.get_by_role("table").get_by_role("row")
    await expect(rows).to_have_count(3)
    await expect(rows.nth(1)).to_contain_text("Lunch")
    await expect(rows.nth(1)).to_contain_text("-$12.50")


async def order_and_watch(someone: Visit, shopkeeper: Shopkeeper) -> None:
    """What becomes of the order is shown while the page is looked at."""
    page = someone.page
    await someone.open("Shop")
    product = shopkeeper.product
    await page.get_by_role("searchbox").fill(product["name"])
    await expect(page.get_by_role("list", name="Products").get_by_role("listitem")).to_have_count(1)
    await page.get_by_role("button", name=f"Add {product['name']} to the basket").click()
    await page.get_by_role("button", name="One more").click()
    basket = page.get_by_role("region", name="Basket")
    await expect(basket.locator("p.total")).to_contain_text("$50.00")
    await basket.get_by_role("button", name="Place the order").click()
    await expect(page.get_by_role("heading", name="Orders")).to_be_focused()
    order = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=product["name"]))
    await expect(order.locator(".chip")).to_have_text("Being prepared")
    await expect(order).to_contain_text("Reserved on your account")
    order_id = await order.get_attribute("data-order")
    assert order_id
    shown_before = len(someone.requests)
    await shopkeeper.ship(order_id)
    await expect(order.locator(".chip")).to_have_text("On its way")
    await expect(someone.notice(f"{product['name']}: on its way.")).to_be_visible()
    await expect(order).to_contain_text("Paid")
    await expect(order.get_by_role("button", name="Cancel")).to_have_count(0)
    await shopkeeper.deliver(order_id)
    await expect(order.locator(".chip")).to_have_text("Delivered")
    loaded = [urlsplit(request.url).path for request in someone.requests[shown_before:]]
    assert not [path for path in loaded if not path.startswith("/v1/")], "the page was loaded again"


async def sign_out(someone: Visit, stage: Stage, username: str) -> None:
    page = someone.page
    async with page.expect_response(lambda response: response.request.method == "DELETE"):
        await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_focused()
    assert NAME not in await page.content()
    sessions = "SELECT revoke_time IS NOT NULL FROM sessions JOIN users ON users.id = user_id"
    ended = await stage.bank.owner.fetch(f"{sessions} WHERE username = $1 AND user_agent LIKE 'Mozilla%'", username)
    assert [each[0] for each in ended] == [True]
    await page.go_back()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


class TestJourney:
    @pytest.mark.timeout(120)
    async def test_customer_signs_up_pays_orders_and_signs_out(
        self, visit: Visiting, stage: Stage, payee: tuple[Someone, str], shopkeeper: Shopkeeper
    ) -> None:
        username = f"dora-{uuid4().hex[:12]}"
        email = f"{username}@example.com"
        dora = await visit()
        await sign_up(dora, username, email)
        await sign_in_and_open_the_link(dora, stage, username, email)
        await receive_money(dora, stage, username)
        await pay(dora, stage, payee)
        await read_the_statement(dora)
        await order_and_watch(dora, shopkeeper)
        await sign_out(dora, stage, username)
