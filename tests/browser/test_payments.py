"""Paying somebody by name, and what is said when it does not work."""

import json
import re

from playwright.async_api import Route, expect

from tests.browser.conftest import Visit, Visiting, lose_answer
from tests.e2e.stage import Someone, Stage

Customer = tuple[Someone, str]


async def fill(someone: Visit, username: str, amount: str) -> None:
    await someone.page.get_by_label("To").fill(username)
    await someone.page.get_by_label("Amount in USD").fill(amount)
    await someone.page.get_by_role("button", name="Continue").click()


async def paying(visit: Visiting, customer: Customer) -> Visit:
    someone = await visit()
    await someone.sign_in(customer[0].username, "#/pay")
    await expect(someone.page.get_by_label("Amount in USD")).to_be_visible()
    return someone


async def send(someone: Visit) -> None:
    await someone.page.get_by_role("button", name="Send $30.00").click()
    await expect(someone.page.get_by_role("heading", name="Sent")).to_be_visible()


async def send_in_vain(someone: Visit, payee: Customer) -> None:
    """Pay 30 dollars whose answer does not arrive."""
    await fill(someone, payee[0].username, "30.00")
    await someone.page.get_by_role("button", name="Send $30.00").click()
    await expect(someone.page.get_by_role("alert")).to_contain_text("It is paid once, however often you send it.")


class TestPay:
    async def test_more_than_there_is_names_both_amounts_and_moves_nothing(
        self, visit: Visiting, stage: Stage, customer: Customer, payee: Customer
    ) -> None:
        someone = await paying(visit, customer)
        someone.refused.add((400, "/v1/transfers"))
        await fill(someone, payee[0].username, "100.01")
        await someone.page.get_by_role("button", name="Send $100.01").click()
        await expect(someone.page.get_by_role("alert")).to_have_text(
            "The account has not enough money: $100.01 needed, $100.00 available."
        )
        assert await stage.bank.posted_minor(payee[1]) == 0
        assert await stage.bank.posted_minor(customer[1]) == 10_000

    async def test_unknown_payee_is_said_at_the_field(self, visit: Visiting, customer: Customer) -> None:
        someone = await paying(visit, customer)
        field = someone.page.get_by_label("To")
        for name in ("nobody-has-this", "x", "somebody else"):
            path = f"/v1/payees/{name.replace(' ', '%20')}"
            someone.refused |= {(404, path), (400, path)}
            await fill(someone, name, "1.00")
            await expect(field).to_have_accessible_description(
                "The user name of somebody who takes payments by name."
                f" Nobody called {name} takes payments in USD by name. Check the spelling, or ask them to turn it on in"
                " their profile."
            )
            await expect(field).to_be_focused()
        assert someone.sent("/v1/transfers") == []

    async def test_amount_that_is_none_is_never_sent(
        self, visit: Visiting, customer: Customer, payee: Customer
    ) -> None:
        someone = await paying(visit, customer)
        field = someone.page.get_by_label("Amount in USD")
        for amount in ("0", "0.00", "1,000", "1.005", "-1", "1e3", "12 50", "ten", ".", "9" * 17):
            await fill(someone, payee[0].username, amount)
            await expect(field).to_be_focused()
            await expect(field).to_have_attribute("aria-invalid", "true")
            await expect(field).to_have_accessible_description(
                re.compile("Write an amount such as 12.50.|more than zero")
            )
        assert someone.sent("/v1/transfers") == []
        assert someone.sent(f"/v1/payees/{payee[0].username}") == []

    async def test_answer_that_was_lost_is_asked_for_again_and_paid_once(
        self, visit: Visiting, stage: Stage, customer: Customer, payee: Customer
    ) -> None:
        someone = await paying(visit, customer)
        page = someone.page
        await page.route("**/v1/transfers", lose_answer, times=1)
        await send_in_vain(someone, payee)
        assert await stage.bank.posted_minor(payee[1]) == 3_000
        await send(someone)
        bodies = [json.loads(request.post_data or "") for request in someone.sent("/v1/transfers") if request.post_data]
        assert [body["request_id"] for body in bodies] == [bodies[0]["request_id"]] * 2
        assert await stage.bank.posted_minor(payee[1]) == 3_000

        # The same payment once more is another one.
        await page.get_by_role("button", name="Pay again").click()
        await fill(someone, payee[0].username, "30.00")
        await send(someone)
        assert await stage.bank.posted_minor(payee[1]) == 6_000

    async def test_answer_that_was_lost_pays_once_though_the_view_was_left(
        self, visit: Visiting, stage: Stage, customer: Customer, payee: Customer
    ) -> None:
        someone = await paying(visit, customer)
        page = someone.page
        await page.route("**/v1/transfers", lose_answer, times=1)
        await send_in_vain(someone, payee)
        await someone.open("Accounts")
        await someone.open("Pay")
        await fill(someone, payee[0].username, "30.00")
        await send(someone)
        await expect(
            someone.notice(f"$30.00 was sent to {payee[0].username} before, and is paid once.")
        ).to_be_visible()
        assert await stage.bank.posted_minor(payee[1]) == 3_000

    async def test_answer_that_broke_off_says_that_sending_again_pays_once(
        self, visit: Visiting, stage: Stage, customer: Customer, payee: Customer
    ) -> None:
        someone = await paying(visit, customer)

        async def break_off(route: Route) -> None:
            response = await route.fetch()
            await route.fulfill(response=response, body=(await response.body())[:20])

        await someone.page.route("**/v1/transfers", break_off, times=1)
        await send_in_vain(someone, payee)
        await send(someone)
        assert await stage.bank.posted_minor(payee[1]) == 3_000

    async def test_too_many_payees_says_how_long_to_wait(
        self, visit: Visiting, stage: Stage, customer: Customer, payee: Customer
    ) -> None:
        someone = await paying(visit, customer)
        path = f"/v1/payees/{payee[0].username}"
        someone.refused.add((429, path))
        detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMITED", "metadata": {}}
        wait = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "90.500s"}
        await someone.page.route(
            f"**{path}*", lambda route: route.fulfill(status=429, json={"message": "slow", "details": [detail, wait]})
        )
        await fill(someone, payee[0].username, "1.00")
        await expect(someone.page.get_by_role("alert")).to_have_text(
            "That was too often in a short time. Try again in 91 seconds."
        )

    async def test_unverified_user_is_told_to_open_the_link(self, visit: Visiting, stage: Stage) -> None:
        newcomer = await stage.someone()
        await stage.account(newcomer, 0)
        await stage.bank.owner.execute("UPDATE users SET email_verified = false WHERE id = $1", newcomer.user_id)
        someone = await visit()
        await someone.sign_in(newcomer.username, "#/pay")
        someone.refused.add((400, "/v1/payees/alice"))
        await fill(someone, "alice", "1.00")
        await expect(someone.page.get_by_role("alert")).to_have_text(
            "Prove your e-mail address first: open the link in the mail we sent you."
        )


class TestProfile:
    async def test_switch_makes_the_user_payable_by_name(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username, "#/profile")
        switch = someone.page.get_by_role("switch", name="Take payments by user name")
        await expect(switch).not_to_be_checked()
        await switch.check()
        await expect(someone.notice("Others can pay you by your user name now.")).to_be_visible()
        stored = "SELECT payable_by_name FROM users WHERE id = $1"
        assert await stage.bank.owner.fetchval(stored, customer[0].user_id)
        await someone.open("Accounts")
        await someone.open("Profile")
        await expect(switch).to_be_checked()
        await switch.uncheck()
        await expect(someone.notice("Nobody finds you")).to_be_visible()
        assert not await stage.bank.owner.fetchval(stored, customer[0].user_id)


class TestAccounts:
    async def test_account_is_opened_in_a_currency_without_minor_units(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username)
        page = someone.page
        await page.get_by_role("button", name="Open an account").click()
        dialog = page.get_by_role("dialog", name="Open an account")
        await dialog.get_by_label("Currency").select_option("JPY")
        await dialog.get_by_label("Name").fill("Kyoto")
        await dialog.get_by_role("button", name="Open it").click()
        card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="Kyoto"))
        await expect(card.locator(".figure")).to_contain_text("¥0")
        await expect(dialog).to_have_count(0)
        assert await stage.bank.owner.fetchval(
            "SELECT count(*) FROM accounts WHERE owner_user_id = $1 AND currency_code = 'JPY'", customer[0].user_id
        )

    async def test_answer_that_was_lost_opens_one_account_though_the_dialog_was_closed(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username)
        await someone.page.route("**/v1/accounts", lose_answer, times=1)
        dialog = someone.page.get_by_role("dialog", name="Open an account")
        for _ in range(2):
            await someone.page.get_by_role("button", name="Open an account").click()
            await dialog.get_by_label("Currency").select_option("JPY")
            await dialog.get_by_role("button", name="Open it").click()
            await expect(dialog.get_by_role("alert").or_(someone.notice("JPY account is open."))).not_to_be_empty()
            await someone.page.keyboard.press("Escape")
        count = "SELECT count(*) FROM accounts WHERE owner_user_id = $1 AND currency_code = 'JPY'"
        assert await stage.bank.owner.fetchval(count, customer[0].user_id) == 1

    async def test_held_money_is_told_apart(self, visit: Visiting, stage: Stage, customer: Customer) -> None:
        await stage.bank.owner.execute("UPDATE accounts SET display_name = '<b>Main</b>' WHERE id = $1", customer[1])
        someone = await visit()
        await someone.sign_in(customer[0].username)
        await expect(someone.fact("Posted")).to_have_text("$100.00")
        await expect(someone.fact("Held")).to_have_text("$0.00")
        # What people write is text, whatever it looks like.
        await expect(someone.page.get_by_role("heading", name="<b>Main</b>")).to_be_visible()
