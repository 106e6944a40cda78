"""What keeps somebody signed in, and what ends it."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import Route, expect

from local.demo import DEMO_PASSWORD
from server.tokens import AccessTokens
from tests.browser.conftest import ACCESS_TOKEN_TTL_S, Visit, Visiting, lose_answer
from tests.e2e.stage import Someone, Stage
from tests.worker.surroundings import eventually

Customer = tuple[Someone, str]
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


async def deposit(stage: Stage, account_id: str, request_id: str, amount_minor: int = 100) -> None:
    fields = {"account_id": account_id, "amount_minor": amount_minor, "currency_code": "USD", "request_id": request_id}
    await stage.done("DepositFunds", fields, stage.banker)


async def bearers(someone: Visit, path: str) -> list[str]:
    return [(await request.all_headers())["authorization"] for request in someone.sent(path)]


def handing_out(stage: Stage, owner: Someone, age: timedelta = timedelta()) -> Callable[[Route], Awaitable[None]]:
    """Answers with an access token of 15 minutes from then instead of the service's own; for `Page.route`.

    The page exchanges none of its own accord before these are over, however slow the test is.
    """

    async def hand_out(route: Route) -> None:
        response = await route.fetch()
        answer: dict[str, Any] = await response.json()
        tokens = AccessTokens(stage._keys, "paseto", 900)
        token, _ = tokens.issue(owner.user_id, UUID(answer["session"]["id"]), datetime.now(UTC) - age)
        expire_time = datetime.now(UTC) + timedelta(minutes=15)
        answer |= {"access_token": token, "access_token_expire_time": expire_time.isoformat()}
        await route.fulfill(response=response, json=answer)

    return hand_out


class TestTokens:
    async def test_page_and_feed_go_on_after_the_access_token_has_expired(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username)
        await someone.live()
        figure = someone.page.locator(".account .figure")
        await expect(figure).to_contain_text("$100.00")
        # The first stream ends with its token; the second one is opened with the next token.
        async with someone.page.expect_request(
            lambda request: request.url.endswith(":watch") and len(someone.sent("/v1/events:watch")) > 1,
            timeout=(ACCESS_TOKEN_TTL_S + 4) * 1000,
        ):
            pass
        first, second, *_ = await bearers(someone, "/v1/events:watch")
        assert first != second
        assert someone.sent("/v1/sessions:refresh")
        await deposit(stage, customer[1], str(customer[0].user_id))
        await expect(figure).to_contain_text("$101.00")
        await someone.open("Orders")

    async def test_token_is_exchanged_before_its_end_also_when_nothing_is_called(
        self, visit: Visiting, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.page.clock.install()
        await someone.sign_in(customer[0].username)
        await someone.live()
        await someone.page.evaluate(HIDE, True)
        async with someone.page.expect_request("**/v1/sessions:refresh"):
            await someone.page.clock.fast_forward(ACCESS_TOKEN_TTL_S * 800)

    async def test_token_that_the_service_takes_no_more_is_exchanged_and_the_call_made_again(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.page.route("**/v1/sessions", handing_out(stage, customer[0], age=timedelta(days=1)))
        await someone.page.route("**/v1/sessions:refresh", handing_out(stage, customer[0]))
        someone.refused |= {(401, "/v1/events")}
        await someone.sign_in(customer[0].username)
        await expect(someone.page.locator(".account .figure")).to_contain_text("$100.00")
        assert len(someone.sent("/v1/sessions:refresh")) == 1
        assert len(someone.sent("/v1/events")) == 2

    async def test_answer_to_an_exchange_that_was_lost_is_asked_for_again(
        self, visit: Visiting, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.page.route("**/v1/sessions:refresh", lose_answer, times=1)
        await someone.page.clock.install()
        await someone.sign_in(customer[0].username)
        await someone.settled("Accounts")
        await someone.page.clock.fast_forward(ACCESS_TOKEN_TTL_S * 800)
        await eventually(lambda: len(someone.sent("/v1/sessions:refresh")) > 1)
        first, second, *_ = [request.post_data for request in someone.sent("/v1/sessions:refresh")]
        assert first == second
        await someone.open("Orders")

    async def test_refresh_token_is_not_shown_again_when_that_could_count_as_theft(
        self, visit: Visiting, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.page.route("**/v1/sessions:refresh", lose_answer)
        await someone.page.clock.install()
        await someone.sign_in(customer[0].username)
        await someone.settled("Accounts")
        async with someone.page.expect_event("requestfailed", lambda request: request.url.endswith(":refresh")):
            await someone.page.clock.fast_forward(ACCESS_TOKEN_TTL_S * 800)
        # As after a sleep of the machine: its clock has gone on, and no timer has run.
        await someone.page.clock.fast_forward(10_000)
        await expect(someone.page.get_by_role("heading", name="Sign in")).to_be_focused()
        await expect(someone.notice("Your session has ended. Sign in again.")).to_be_visible()
        assert len(someone.sent("/v1/sessions:refresh")) == 1

    async def test_machine_that_was_without_network_for_longer_goes_on(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.page.clock.install()
        await someone.sign_in(customer[0].username)
        await someone.live()
        await someone.page.context.set_offline(True)
        # As after a sleep of the machine, whose network comes later than its clock; renewed is meanwhile what can be.
        for _ in range(3):
            await someone.page.clock.fast_forward(ACCESS_TOKEN_TTL_S * 1_000)
        await deposit(stage, customer[1], str(customer[0].user_id))
        await someone.page.context.set_offline(False)
        await someone.page.clock.fast_forward(20_000)
        await expect(someone.page.locator(".account .figure")).to_contain_text("$101.00")
        await someone.live()

    async def test_tokens_are_in_no_address_and_no_markup(self, visit: Visiting, customer: Customer) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username)
        await someone.live()
        answer = await (await someone.sent("/v1/sessions")[0].response()).json()  # type: ignore[union-attr]
        content = await someone.page.content()
        for token in (answer["access_token"], answer["refresh_token"]):
            assert token not in content
            assert not [request.url for request in someone.requests if token in request.url]


class TestEnd:
    async def test_session_revoked_elsewhere_ends_at_the_sign_in_view(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.page.route("**/v1/sessions", handing_out(stage, customer[0]))
        await someone.sign_in(customer[0].username)
        await someone.settled("Accounts")
        await someone.live()
        await stage.done("RevokeAllSessions", {}, customer[0].token)
        await expect(someone.page.get_by_role("heading", name="Sign in")).to_be_focused()
        await expect(someone.notice("Your session has ended. Sign in again.")).to_be_visible()
        await expect(someone.page.get_by_role("navigation", name="Main")).to_be_hidden()
        assert "$100.00" not in await someone.page.content()
        assert someone.sent("/v1/sessions:refresh") == []

    async def test_session_revoked_unheard_ends_when_the_token_is_exchanged(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.page.clock.install()
        await someone.page.route("**/v1/events:watch", lambda route: route.abort())
        await someone.sign_in(customer[0].username)
        await someone.settled("Accounts")
        await stage.done("RevokeAllSessions", {}, customer[0].token)
        someone.refused.add((401, "/v1/sessions:refresh"))
        await someone.page.clock.fast_forward(ACCESS_TOKEN_TTL_S * 1000)
        await expect(someone.page.get_by_role("heading", name="Sign in")).to_be_focused()
        await expect(someone.page.get_by_role("navigation", name="Main")).to_be_hidden()

    async def test_wrong_password_is_told_and_nothing_else(self, visit: Visiting, customer: Customer) -> None:
        someone = await visit()
        someone.refused.add((401, "/v1/sessions"))
        await someone.page.goto(someone.origin)
        await someone.page.get_by_label("User name").fill(customer[0].username)
        await someone.page.get_by_label("Password").fill("wrong")
        await someone.page.keyboard.press("Enter")
        await expect(someone.page.get_by_role("alert")).to_have_text("The user name or the password is wrong.")

    async def test_page_loaded_again_knows_nobody(self, visit: Visiting, customer: Customer) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username)
        await someone.page.reload()
        await expect(someone.page.get_by_role("heading", name="Sign in")).to_be_visible()

    async def test_address_asked_for_is_shown_after_signing_in(self, visit: Visiting, customer: Customer) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username, f"#/accounts/{customer[1]}")
        await expect(someone.page.get_by_role("table")).to_contain_text("Paid in")


class TestTabs:
    async def test_two_tabs_are_two_sessions(self, visit: Visiting, stage: Stage, customer: Customer) -> None:
        first = await visit()
        await first.sign_in(customer[0].username)
        second = Visit(await first.page.context.new_page(), first.origin)
        other = await stage.someone()
        await stage.account(other, 500)
        await second.sign_in(other.username)
        await expect(second.page.locator(".account .figure")).to_contain_text("$5.00")
        await second.page.get_by_role("button", name="Sign out").click()
        await first.open("Orders")
        await first.open("Accounts")
        await expect(first.page.locator(".account .figure")).to_contain_text("$100.00")


class TestFeed:
    async def test_hidden_page_holds_no_stream_and_catches_up_after_its_last_cursor(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username)
        await someone.live()
        state = someone.page.locator("#live")
        await deposit(stage, customer[1], str(customer[0].user_id))
        figure = someone.page.locator(".account .figure")
        await expect(figure).to_contain_text("$101.00")
        await someone.page.evaluate(HIDE, True)
        await expect(state).to_have_text("Paused")
        streams = len(someone.sent("/v1/events:watch"))
        await deposit(stage, customer[1], str(customer[0].session_id))
        await someone.page.wait_for_timeout(400)
        await expect(figure).to_contain_text("$101.00")
        assert len(someone.sent("/v1/events:watch")) == streams
        await someone.page.evaluate(HIDE, False)
        await expect(state).to_have_text("Live")
        await expect(figure).to_contain_text("$102.00")
        cursors = [int((await request.all_headers())["last-event-id"]) for request in someone.sent("/v1/events:watch")]
        assert cursors == sorted(cursors)
        assert cursors[-1] > cursors[0]

    async def test_stream_that_broke_is_opened_again(self, visit: Visiting, stage: Stage, customer: Customer) -> None:
        someone = await visit()
        first = b'id: 1\ndata: {"heartbeat": {"cursor": "0"}}\n\nid: 2\nda'
        headers = {"content-type": "text/event-stream"}
        await someone.page.route(
            "**/v1/events:watch", lambda route: route.fulfill(body=first, headers=headers), times=2
        )
        await someone.sign_in(customer[0].username)
        await expect(someone.page.locator(".account .figure")).to_contain_text("$100.00")
        await eventually(lambda: len(someone.sent("/v1/events:watch")) > 2)
        await someone.live()
        await deposit(stage, customer[1], str(customer[0].user_id))
        await expect(someone.page.locator(".account .figure")).to_contain_text("$101.00")

    async def test_streams_that_end_at_once_are_opened_ever_more_rarely(
        self, visit: Visiting, customer: Customer
    ) -> None:
        someone = await visit()
        # Whole, without a last message: so answers what stands between and knows of no stream.
        body = 'id: 1\ndata: {"heartbeat": {"cursor": "0"}}\n\n'
        headers = {"content-type": "text/event-stream"}
        await someone.page.route("**/v1/events:watch", lambda route: route.fulfill(body=body, headers=headers))
        await someone.sign_in(customer[0].username)
        await eventually(lambda: len(someone.sent("/v1/events:watch")) > 1)
        await someone.page.wait_for_timeout(2_000)
        # After half a second, one second, two seconds.
        assert len(someone.sent("/v1/events:watch")) <= 4
        await expect(someone.page.locator("#live")).to_have_text("Connecting")

    @pytest.mark.parametrize(
        ("view", "heading", "read"),
        [
            ("accounts", "Accounts", "**/v1/accounts?*"),
            ("accounts/{account}", "USD account", "**/v1/accounts/*/statement?*"),
            ("pay", "Pay somebody", "**/v1/accounts?*"),
            ("orders", "Orders", "**/v1/orders?*"),
        ],
        ids=["accounts", "statement", "pay", "orders"],
    )
    async def test_news_that_could_not_be_read_are_said_to_be_missing(
        self, visit: Visiting, stage: Stage, customer: Customer, view: str, heading: str, read: str
    ) -> None:
        someone = await visit()
        page = someone.page
        await someone.sign_in(customer[0].username, f"#/{view.format(account=customer[1])}")
        await someone.live()
        await someone.settled(heading)
        await page.route(read, lambda route: route.abort())
        await deposit(stage, customer[1], str(customer[0].user_id))
        problem = page.locator(".problem")
        await expect(problem).to_contain_text("What is shown may be out of date.")
        await page.unroute(read)
        await problem.get_by_role("button", name="Try again").click()
        await expect(problem).to_have_count(0)
        if view != "orders":
            await expect(page.get_by_role("main")).to_contain_text("$101.00")


class TestPasswordReset:
    async def test_mail_is_asked_for_without_telling_whether_somebody_has_the_address(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        page = someone.page
        shown = []
        for address in (customer[0].email, "nobody@example.com"):
            await page.goto(f"{someone.origin}/#/sign-in")
            await page.get_by_role("link", name="Forgot your password?").click()
            await page.get_by_label("E-mail").fill(address)
            await page.get_by_role("button", name="Send me a link").click()
            await expect(page.get_by_role("heading", name="Look at your mail")).to_be_focused()
            shown.append((await page.get_by_role("main").inner_text()).replace(address, "…"))
        assert shown[0] == shown[1]
        sent = [json.loads(request.post_data or "{}") for request in someone.sent("/v1/users:requestPasswordReset")]
        assert [body["email"] for body in sent] == [customer[0].email, "nobody@example.com"]
        assert DEMO_PASSWORD not in await page.content()
