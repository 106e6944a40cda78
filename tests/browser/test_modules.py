"""The modules below the views, called as the views call them."""

from typing import Any

import pytest
from playwright.async_api import Browser, Error, Page

from tests.e2e.stage import Stage

CURRENCIES = [
    {"currency_code": "USD", "minor_unit_digits": 2, "name": "US Dollar"},
    {"currency_code": "JPY", "minor_unit_digits": 0, "name": "Yen"},
    {"currency_code": "KWD", "minor_unit_digits": 3, "name": "Kuwaiti Dinar"},
]


@pytest.fixture(scope="module")
async def page(browser: Browser, stage: Stage) -> Any:
    page = await browser.new_page(locale="en-US")
    await page.goto(stage.bank.stack.http_url)
    yield page
    await page.close()


class TestMoney:
    @pytest.mark.parametrize(
        ("minor", "code", "shown"),
        [
            ("0", "USD", "$0.00"),
            ("-5", "USD", "-$0.05"),
            ("123456", "USD", "$1,234.56"),
            ("1234", "JPY", "¥1,234"),
            ("1234", "KWD", "KWD 1.234"),
            # Beyond what a floating-point number holds exactly.
            ("9007199254740993", "USD", "$90,071,992,547,409.93"),
            ("4000000000000000001", "USD", "$40,000,000,000,000,000.01"),
        ],
    )
    async def test_amount_is_shown_to_the_last_digit(self, page: Page, minor: str, code: str, shown: str) -> None:
        script = """async ([currencies, minor, code]) => {
            const { Money } = await import("/console/money.js");
            return new Money(currencies, "en-US").format(minor, code);
        }"""
        text = await page.evaluate(script, [CURRENCIES, minor, code])
        assert text.replace("\xa0", " ") == shown

    @pytest.mark.parametrize(
        ("text", "code", "locale", "minor"),
        [
            ("12.50", "USD", "en-US", "1250"),
            (" 12.5 ", "USD", "en-US", "1250"),
            ("12", "USD", "en-US", "1200"),
            ("12.", "USD", "en-US", "1200"),
            ("90071992547409.93", "USD", "en-US", "9007199254740993"),
            ("1250", "JPY", "en-US", "1250"),
            ("1.5", "JPY", "en-US", None),
            ("1.234", "KWD", "en-US", "1234"),
            ("1,234", "KWD", "en-US", None),
            ("12,50", "USD", "de-DE", "1250"),
            ("12.50", "USD", "de-DE", None),
            ("0", "USD", "en-US", None),
            ("", "USD", "en-US", None),
            ("٣", "USD", "en-US", None),
        ],
    )
    async def test_amount_is_read_exactly_or_not_at_all(
        self, page: Page, text: str, code: str, locale: str, minor: str | None
    ) -> None:
        script = """async ([currencies, text, code, locale]) => {
            const { Money } = await import("/console/money.js");
            try {
                return new Money(currencies, locale).parse(text, code).toString();
            } catch (error) {
                if (error instanceof RangeError) return null;
                throw error;
            }
        }"""
        assert await page.evaluate(script, [CURRENCIES, text, code, locale]) == minor


class TestServerSentEvents:
    async def test_messages_are_whole_wherever_the_stream_is_cut(self, page: Page) -> None:
        stream = 'id: 7\ndata: {"name": "Zoë – 猫"}\n\nid: 8\ndata: {}\n\nid: 9\ndata: {"half'
        script = """async (text) => {
            const { serverSentEvents } = await import("/console/feed.js");
            const bytes = new TextEncoder().encode(text);
            const results = new Set();
            for (let size = 1; size <= bytes.length; size += 1) {
                const stream = new ReadableStream({
                    start(controller) {
                        for (let from = 0; from < bytes.length; from += size) {
                            controller.enqueue(bytes.slice(from, from + size));
                        }
                        controller.close();
                    },
                });
                const messages = [];
                for await (const message of serverSentEvents(stream)) messages.push(message);
                results.add(JSON.stringify(messages));
            }
            return [...results].map((result) => JSON.parse(result));
        }"""
        messages = [{"id": "7", "data": '{"name": "Zoë – 猫"}'}, {"id": "8", "data": "{}"}]
        assert await page.evaluate(script, stream) == [messages]


class TestChart:
    @pytest.mark.parametrize(
        ("low", "high", "levels"),
        [
            (0, 100_000, [0, 50_000, 100_000]),
            (0, 111_100, [0, 50_000, 100_000, 150_000]),
            (-70, 30, [-100, -50, 0, 50]),
            (0, 1, [0, 1]),
            (
                4 * 10**18 - 10,
                4 * 10**18,
                [4 * 10**18 - 10, 4 * 10**18 - 8, 4 * 10**18 - 6, 4 * 10**18 - 4, 4 * 10**18 - 2, 4 * 10**18],
            ),
        ],
    )
    async def test_axis_has_few_round_levels_around_all_amounts(
        self, page: Page, low: int, high: int, levels: list[int]
    ) -> None:
        script = """async ([low, high]) => {
            const { ticks } = await import("/console/chart.js");
            return ticks(BigInt(low), BigInt(high)).map(String);
        }"""
        assert [int(level) for level in await page.evaluate(script, [str(low), str(high)])] == levels


class TestPolicy:
    async def test_browser_refuses_markup_made_of_text(self, page: Page) -> None:
        with pytest.raises(Error, match="TrustedHTML"):
            await page.evaluate("() => { document.body.innerHTML = '<b>text</b>'; }")

    async def test_browser_refuses_scripts_from_elsewhere_and_in_the_page(self, page: Page) -> None:
        script = """() => new Promise((resolve) => {
            const blocked = [];
            document.addEventListener("securitypolicyviolation", (event) => {
                blocked.push(event.effectiveDirective);
                if (blocked.length === 2) resolve(blocked.sort());
            });
            const style = document.createElement("style");
            style.append("body { color: red }");
            document.head.append(style);
            fetch("http://127.0.0.2:9/").catch(() => {});
        })"""
        assert await page.evaluate(script) == ["connect-src", "style-src-elem"]
