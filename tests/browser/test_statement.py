"""The statement: which entries a range has, and what the picture tells of them."""

from uuid import uuid4

from playwright.async_api import expect

from tests.browser.conftest import Visiting
from tests.e2e.stage import Someone, Stage

Customer = tuple[Someone, str]


async def deposit(stage: Stage, account_id: str, amount_minor: int, description: str) -> None:
    fields = {"account_id": account_id, "amount_minor": amount_minor, "currency_code": "USD"}
    fields |= {"request_id": str(uuid4()), "description": description}
    await stage.done("DepositFunds", fields, stage.banker)


class TestStatement:
    async def test_range_has_its_own_totals_picture_and_entries(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        await stage.bank.owner.execute(
            "WITH old AS (UPDATE entries SET create_time = create_time - interval '40 days'"
            " WHERE account_id = $1 RETURNING transfer_id)"
            " UPDATE transfers SET create_time = create_time - interval '40 days'"
            " WHERE id IN (SELECT transfer_id FROM old)",
            customer[1],
        )
        await deposit(stage, customer[1], 2_500, "New")
        someone = await visit()
        await someone.sign_in(customer[0].username, f"#/accounts/{customer[1]}")
        page = someone.page
        rows = page.get_by_role("table").get_by_role("row")
        await expect(someone.fact("Opening balance")).to_have_text("$100.00")
        await expect(someone.fact("Money in")).to_have_text("$25.00")
        await expect(rows).to_have_count(2)
        await expect(page.get_by_role("img", name="from $100.00 to $125.00")).to_be_visible()
        await page.get_by_role("radio", name="90 days").check()
        await expect(someone.fact("Opening balance")).to_have_text("$0.00")
        await expect(rows).to_have_count(3)
        await expect(page.get_by_role("img", name="from $0.00 to $125.00, with $0.00 at the least")).to_be_visible()

    async def test_pointer_reads_the_balance_of_its_moment(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username, f"#/accounts/{customer[1]}")
        canvas = someone.page.locator(".canvas")
        box = await canvas.bounding_box()
        assert box
        await canvas.hover(position={"x": 66, "y": 100})
        await expect(someone.page.locator(".readout")).to_contain_text("$0.00 · ")
        await canvas.hover(position={"x": box["width"] - 15, "y": 100})
        await expect(someone.page.locator(".readout")).to_contain_text("$100.00 · ")

    async def test_older_entries_are_shown_on_demand_and_stay_while_news_arrive(
        self, visit: Visiting, stage: Stage, customer: Customer
    ) -> None:
        for number in range(26):
            await deposit(stage, customer[1], 100, f"Number {number}")
        someone = await visit()
        await someone.sign_in(customer[0].username, f"#/accounts/{customer[1]}")
        rows = someone.page.locator("tbody tr")
        await expect(rows).to_have_count(25)
        await someone.page.get_by_role("button", name="Show older entries").click()
        await expect(rows).to_have_count(27)
        await someone.live()
        await deposit(stage, customer[1], 100, "News")
        await expect(rows.first).to_contain_text("News")
        await expect(rows).to_have_count(28)

    async def test_range_that_could_not_be_read_leaves_no_totals_of_another(
        self, visit: Visiting, customer: Customer
    ) -> None:
        someone = await visit()
        await someone.sign_in(customer[0].username, f"#/accounts/{customer[1]}")
        page = someone.page
        await expect(someone.fact("Money in")).to_have_text("$100.00")
        await page.route("**/v1/accounts/*/statement?*", lambda route: route.abort(), times=1)
        await page.get_by_role("radio", name="7 days").check()
        problem = page.get_by_role("alert")
        await expect(problem).to_contain_text("The service cannot be reached.")
        await expect(page.locator(".facts")).to_have_count(0)
        await problem.get_by_role("button", name="Try again").click()
        await expect(someone.fact("Money in")).to_have_text("$100.00")
        await expect(problem).to_have_count(0)
        await expect(page.get_by_role("radio", name="7 days")).to_be_checked()

    async def test_account_without_entries_says_so(self, visit: Visiting, stage: Stage) -> None:
        newcomer = await stage.someone()
        account_id = await stage.account(newcomer, 0)
        someone = await visit()
        await someone.sign_in(newcomer.username, f"#/accounts/{account_id}")
        await expect(someone.page.get_by_role("main")).to_contain_text("Nothing was booked in the last 30 days.")

    async def test_account_of_somebody_else_is_not_there(
        self, visit: Visiting, customer: Customer, payee: Customer
    ) -> None:
        someone = await visit()
        path = f"/v1/accounts/{payee[1]}"
        someone.refused.add((404, path))
        await someone.sign_in(customer[0].username, f"#/accounts/{payee[1]}")
        await expect(someone.page.get_by_role("alert")).to_contain_text("That does not exist, or is not yours to see.")
