"""An order that nobody but the worker moves, watched in the page and by curl at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import DESKTOP, Visit, open_shop
from tests.conftest import running_stack
from tests.e2e.conftest import open_bank
from tests.e2e.stage import Stage

SHOWN = {"Being prepared": "order.created", "On its way": "order.shipped", "Delivered": "order.delivered"}
"""What the page shows after which event."""
TOLD = ["hold.created", "order.created", "hold.captured", "transfer.posted", "order.shipped", "order.delivered"]


@asynccontextmanager
async def curl(url: str, token: str) -> AsyncIterator[asyncio.StreamReader]:
    """What `curl -N` prints of the feed, as it comes."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sN", f"{url}/v1/events:watch?after_cursor=now", "-H", f"Authorization: Bearer {token}"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def told(lines: asyncio.StreamReader) -> AsyncIterator[str]:
    """Types of events; a heartbeat is the empty one."""
    while line := await lines.readline():
        if line.startswith(b"data: "):
            message = json.loads(line.removeprefix(b"data: "))
            yield message["event"]["type"] if "event" in message else ""


class TestCascade:
    @pytest.mark.timeout(120)
    async def test_order_payment_and_delivery_are_seen_in_the_page_and_by_curl(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        async with (
            running_stack(tmp_path, SERVER_PROCESSES="1", ORDER_DELIVERY_DELAY_S="2") as stack,
            open_bank(stack) as bank,
        ):
            shop = await open_shop(Stage(bank))
            context = await browser.new_context(locale="en-US", viewport=DESKTOP)
            context.set_default_timeout(20_000)
            alice = Visit(await context.new_page(), stack.http_url)
            alice.watch(context)
            await alice.sign_in("alice", "#/shop")
            await alice.live()
            async with curl(stack.http_url, bank.people["alice"].token) as lines, asyncio.timeout(60):
                types = told(lines)
                assert await anext(types) == ""
                page, name = alice.page, shop.product["name"]
                await page.get_by_role("searchbox").fill(name)
                await page.get_by_role("button", name=f"Add {name} to the basket").click()
                await page.get_by_role("button", name="Place the order").click()
                order = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))
                seen: list[str] = []
                for state, until in SHOWN.items():
                    await expect(order.locator(".chip")).to_have_text(state)
                    while until not in seen:
                        seen.append(await anext(types))
            assert [each for each in seen if each in SHOWN.values()] == list(SHOWN.values())
            assert sorted(filter(None, seen)) == sorted(TOLD)
            await alice.assert_clean()
            await context.close()
