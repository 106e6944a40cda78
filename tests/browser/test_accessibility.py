"""Whoever uses the console: with a keyboard alone, with a screen reader, on a phone, at night."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.browser.conftest import DESKTOP, PHONE, Shopkeeper, Visit, Visiting
from tests.browser.test_orders import placed
from tests.e2e.stage import Someone, Stage

Customer = tuple[Someone, str]
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
OUTSIDE = {"sign-in": "Sign in", "sign-up": "Open an account", "forgot-password": "Set a new password"}
INSIDE = {
    "accounts": "Accounts",
    "accounts/{account}": "USD account",
    "pay": "Pay somebody",
    "shop": "Shop",
    "orders": "Orders",
    "profile": "Profile",
}


async def assert_usable(page: Page, view: str) -> None:
    """No rule of axe is broken, one heading leads, and nothing is wider than the window."""
    results = await Axe().run(page, options=RULES)
    found = [(each["id"], [node["target"] for node in each["nodes"]]) for each in results.response["violations"]]
    assert found == [], view
    await expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, view


async def press(page: Page, *keys: str) -> None:
    for key in keys:
        await page.keyboard.press(key)


async def tab_to(page: Page, name: str, most: int = 25) -> None:
    """Press Tab until the control with this name has the focus, and the focus can be seen."""
    for _ in range(most):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if await focused.count() and name in await focused.evaluate(
            "node => node.ariaLabel || (node.labels?.[0] ?? node).textContent"
        ):
            assert await focused.evaluate("node => getComputedStyle(node).outlineStyle") != "none"
            return
    raise AssertionError(f"no {name} within {most} tabs")


class TestViews:
    @pytest.mark.timeout(120)
    @pytest.mark.parametrize(
        ("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop light", "phone dark"]
    )
    async def test_every_view_is_usable(
        self,
        visit: Visiting,
        stage: Stage,
        customer: Customer,
        shopkeeper: Shopkeeper,
        viewport: dict[str, int],
        scheme: str,
        tmp_path: Path,
    ) -> None:
        await placed(stage, customer, shopkeeper.product)
        someone = await visit(viewport, color_scheme=scheme, reduced_motion="reduce")
        page = someone.page
        for view, heading in OUTSIDE.items():
            await page.goto(f"{someone.origin}/#/{view}")
            await someone.settled(heading)
            await assert_usable(page, view)
        await someone.sign_in(customer[0].username)
        for view, heading in INSIDE.items():
            await page.evaluate("view => { location.hash = `#/${view}`; }", view.format(account=customer[1]))
            await someone.settled(heading)
            await assert_usable(page, view)
            await page.screenshot(path=tmp_path / f"{view.partition('/')[0]}.png")
        await self._assert_parts_usable(someone, shopkeeper.product)

    async def _assert_parts_usable(self, someone: Visit, product: dict[str, Any]) -> None:
        """What a view shows only after something was done."""
        page = someone.page
        await someone.open("Pay")
        await page.get_by_label("To").fill("x")
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_label("Amount in USD")).to_have_attribute("aria-invalid", "true")
        await assert_usable(page, "pay, wrong")
        await someone.open("Shop")
        await page.get_by_role("searchbox").fill(product["name"])
        await page.get_by_role("button", name=f"Add {product['name']} to the basket").click()
        await assert_usable(page, "shop, basket filled")
        await someone.open("Orders")
        await page.get_by_role("button", name="Cancel").click()
        await assert_usable(page, "orders, question")
        await press(page, "Escape")
        await someone.open("Accounts")
        await page.get_by_role("button", name="Open an account").click()
        await assert_usable(page, "accounts, opening")
        await press(page, "Escape")

    async def test_dark_is_dark_and_light_is_light(self, visit: Visiting) -> None:
        someone = await visit()
        await someone.page.goto(someone.origin)
        colour = "() => getComputedStyle(document.body).backgroundColor"
        shown = []
        for scheme in ("light", "dark"):
            await someone.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            shown.append(await someone.page.evaluate(colour))
        assert shown == ["rgb(243, 245, 249)", "rgb(14, 19, 26)"]

    async def test_links_for_developers_stay_reachable(self, visit: Visiting) -> None:
        someone = await visit()
        await someone.page.goto(someone.origin)
        links = someone.page.get_by_role("navigation", name="For developers").get_by_role("link")
        targets = [await link.get_attribute("href") for link in await links.all()]
        assert targets == ["/docs/", "/docs/openapi.json", "/healthz", "/readyz"]
        for target in targets:
            assert (await someone.page.request.get(f"{someone.origin}{target}")).ok


class TestKeyboard:
    @pytest.mark.timeout(90)
    async def test_signing_in_and_paying_need_no_mouse(
        self, visit: Visiting, stage: Stage, customer: Customer, payee: Customer
    ) -> None:
        someone = await visit()
        page = someone.page
        await page.goto(someone.origin)
        await press(page, "Tab")
        await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        await press(page, "Enter")
        await expect(page.get_by_role("main")).to_be_focused()
        await tab_to(page, "User name")
        await page.keyboard.type(customer[0].username)
        await tab_to(page, "Password")
        await page.keyboard.type("local demo passphrase")
        await press(page, "Enter")
        await expect(page.get_by_role("heading", name="Accounts")).to_be_focused()
        await page.evaluate("document.activeElement.blur()")
        await tab_to(page, "Pay")
        await press(page, "Enter")
        await expect(page.get_by_role("heading", name="Pay somebody")).to_be_focused()
        await someone.settled("Pay somebody")
        await tab_to(page, "To")
        await page.keyboard.type(payee[0].username)
        await tab_to(page, "Amount in USD")
        await page.keyboard.type("7.25")
        await press(page, "Enter")
        await expect(page.get_by_role("heading", name="Check and send")).to_be_focused()
        await tab_to(page, "Send $7.25")
        await press(page, "Enter")
        await expect(page.get_by_role("heading", name="Sent")).to_be_focused()
        assert await stage.bank.posted_minor(payee[1]) == 725

    async def test_focus_stays_where_it_is_while_news_arrive(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username)
        await someone.live()
        link = someone.page.get_by_role("link", name="Statement: USD account")
        await link.focus()
        fields = {"account_id": customer[1], "amount_minor": 100, "currency_code": "USD", "request_id": customer[1]}
        await stage.done("DepositFunds", fields, stage.banker)
        await expect(someone.page.locator(".account .figure")).to_contain_text("$101.00")
        await expect(link).to_be_focused()
