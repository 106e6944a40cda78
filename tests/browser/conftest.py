"""People who use the console in a real browser, in front of the whole service.

Access tokens live ten seconds here, so every test that lasts longer shows that they are exchanged.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Page, Request, Response, Route, expect

from local.demo import DEMO_PASSWORD
from tests.chromium import chromium
from tests.conftest import Stack, running_stack
from tests.e2e.conftest import Bank, bank  # noqa: F401 - a fixture, of the stack below
from tests.e2e.stage import Someone, Stage

ACCESS_TOKEN_TTL_S = 10
DESKTOP = {"width": 1200, "height": 850}
PHONE = {"width": 360, "height": 740}

HEADINGS = {
    "Accounts": "Accounts",
    "Pay": "Pay somebody",
    "Shop": "Shop",
    "Orders": "Orders",
    "Profile": "Profile",
}
"""Of the view behind each tab."""

_STORED = """async () => ({
    local: localStorage.length,
    session: sessionStorage.length,
    cookies: document.cookie,
    databases: (await indexedDB.databases()).length,
    caches: (await caches.keys()).length,
    workers: (await navigator.serviceWorker.getRegistrations()).length,
})"""


@dataclass
class Visit:
    """Somebody at the console.

    Attributes:
        refused: What the test expects to be refused, as (status, path); all else is a failure.
        requests: Everything the browser asked for.
    """

    page: Page
    origin: str
    refused: set[tuple[int, str]] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        context.on("request", lambda request: self.requests.append(request))
        context.on("response", self._on_response)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", lambda message: self._on_console(message.type, message.text))

    async def sign_in(self, username: str, view: str = "") -> None:
        await self.page.goto(f"{self.origin}/{view}")
        await self.page.get_by_label("User name").fill(username)
        await self.page.get_by_label("Password").fill(DEMO_PASSWORD)
        await self.page.get_by_role("button", name="Sign in").click()
        await expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()

    async def open(self, tab: str) -> None:
        """Go to a view by its tab, and wait until it is there."""
        await self.page.get_by_role("navigation", name="Main").get_by_role("link", name=tab).click()
        await self.settled(HEADINGS[tab])

    async def settled(self, heading: str) -> None:
        """Wait until the view with this heading is there and read; the one before stays for a moment."""
        view = self.page.locator("main > *:not([aria-busy])")
        await expect(view.get_by_role("heading", name=heading, exact=True, level=1)).to_be_visible()

    async def live(self) -> None:
        """Wait until the feed is open."""
        await expect(self.page.locator("#live")).to_have_text("Live")

    def notice(self, text: str) -> Locator:
        return self.page.locator(".notice", has_text=text)

    def fact(self, name: str) -> Locator:
        """The value beside a name."""
        return self.page.locator(".facts > div").filter(has=self.page.get_by_text(name, exact=True)).locator("dd")

    def sent(self, path: str) -> list[Request]:
        return [request for request in self.requests if urlsplit(request.url).path == path]

    async def assert_clean(self) -> None:
        """Nothing was complained of, asked for elsewhere, or stored."""
        assert self.complaints == []
        assert {f"{urlsplit(request.url).scheme}://{urlsplit(request.url).netloc}" for request in self.requests} == {
            self.origin
        }
        for page in self.page.context.pages:
            stored = await page.evaluate(_STORED)
            assert not any(stored.values()), stored
        assert await self.page.context.cookies() == []

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and (response.status, urlsplit(response.url).path) not in self.refused:
            self.complaints.append(f"{response.status} {response.url}")

    def _on_console(self, kind: str, text: str) -> None:
        # The browser logs each refused answer; those are looked at above.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.complaints.append(text)


async def lose_answer(route: Route) -> None:
    """The service does what it was asked for, and the page is told nothing; for `Page.route`."""
    await route.fetch()
    await route.abort()


Visiting: TypeAlias = Callable[..., Awaitable[Visit]]


@dataclass(frozen=True)
class Shopkeeper:
    """Somebody who sells one product.

    Attributes:
        product: Of 25.00 dollars each, ten pieces, of a name that nothing else has.
    """

    stage: Stage
    merchant: Someone
    product: dict[str, Any]

    async def ship(self, order_id: str) -> None:
        await self.stage.done("ShipOrder", {"order_id": order_id}, self.merchant.token)

    async def deliver(self, order_id: str) -> None:
        await self.stage.done("DeliverOrder", {"order_id": order_id}, self.merchant.token)


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("console")
    async with running_stack(folder, ACCESS_TOKEN_TTL_S=str(ACCESS_TOKEN_TTL_S), SERVER_PROCESSES="1") as stack:
        yield stack


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
async def stage(browser: Browser, bank: Bank) -> Stage:  # noqa: F811 - the browser first: without it nothing is started
    stage = Stage(bank)
    # Its tokens outlive those that the service itself issues here.
    stage.banker = (await stage.someone("BANKER")).token
    return stage


@pytest.fixture
async def visit(browser: Browser, stage: Stage) -> AsyncIterator[Visiting]:
    """Opens the console in a browser of its own; what it did is looked at afterwards."""
    origin = stage.bank.stack.http_url
    async with AsyncExitStack() as closing:
        visits: list[Visit] = []

        async def visiting(viewport: dict[str, int] = DESKTOP, **options: Any) -> Visit:
            context = await browser.new_context(locale="en-US", viewport=viewport, **options)
            closing.push_async_callback(context.close)
            context.set_default_timeout(10_000)
            visit = Visit(await context.new_page(), origin)
            visit.watch(context)
            visits.append(visit)
            return visit

        yield visiting
        for each in visits:
            await each.assert_clean()


@pytest.fixture
async def customer(stage: Stage) -> tuple[Someone, str]:
    """Somebody, and their account with 100 dollars."""
    someone = await stage.someone()
    return someone, await stage.account(someone, 10_000)


@pytest.fixture
async def payee(stage: Stage) -> tuple[Someone, str]:
    """Somebody who takes payments by name, and their empty account."""
    someone = await stage.someone()
    account_id = await stage.account(someone, 0)
    fields = {"user": {"id": "me", "payable_by_name": True}, "update_mask": "payableByName"}
    await stage.done("UpdateUser", fields, someone.token)
    return someone, account_id


@pytest.fixture
async def shopkeeper(stage: Stage) -> Shopkeeper:
    return await open_shop(stage)


async def open_shop(stage: Stage) -> Shopkeeper:
    """Somebody new who sells something new."""
    merchant = await stage.someone("MERCHANT")
    fields = {
        "request_id": str(uuid4()),
        "name": f"Kite {uuid4().hex[:8]}",
        "description": "Flies.",
        "price_minor": 2_500,
        "currency_code": "USD",
        "settlement_account_id": await stage.account(merchant, 0),
        "initial_quantity": 10,
    }
    return Shopkeeper(stage, merchant, (await stage.done("CreateProduct", fields, merchant.token))["product"])
