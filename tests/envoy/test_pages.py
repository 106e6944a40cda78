from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from local.settings import ROOT
from tests.chromium import chromium
from tests.envoy.gateway import Gateway

TOKEN = "token-from-the-mail"
PASSWORD = "eleven grey seals on a rock"


class TestFiles:
    @pytest.mark.parametrize(
        ("path", "content_type"),
        [
            ("/", "text/html; charset=utf-8"),
            ("/docs/", "text/html; charset=utf-8"),
            ("/docs/initializer.js", "text/javascript; charset=utf-8"),
            ("/docs/assets/swagger-ui.css", "text/css; charset=utf-8"),
            ("/docs/assets/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
            ("/docs/openapi.json", "application/json"),
            ("/verify-email.html", "text/html; charset=utf-8"),
            ("/verify-email.js", "text/javascript; charset=utf-8"),
            ("/reset-password.html", "text/html; charset=utf-8"),
            ("/reset-password.js", "text/javascript; charset=utf-8"),
            ("/style.css", "text/css; charset=utf-8"),
            ("/console/main.js", "text/javascript; charset=utf-8"),
            ("/console/views/pay.js", "text/javascript; charset=utf-8"),
            ("/console/base.css", "text/css; charset=utf-8"),
            ("/icon.svg", "image/svg+xml"),
        ],
    )
    async def test_file_is_served_with_its_type(self, gateway: Gateway, path: str, content_type: str) -> None:
        reply = await gateway.get(path)
        assert (reply.status, reply.headers["content-type"]) == (200, content_type)
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.body

    async def test_openapi_document_is_the_generated_one(self, gateway: Gateway) -> None:
        assert (await gateway.get("/docs/openapi.json")).body == (ROOT / "gen" / "openapi.json").read_bytes()

    @pytest.mark.parametrize("path", ["/", "/docs/", "/verify-email.html", "/reset-password.html"])
    async def test_page_allows_nothing_from_elsewhere(self, gateway: Gateway, path: str) -> None:
        headers = (await gateway.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        # Swagger UI writes markup; our own pages do not.
        assert ("trusted-types 'none'" in policy) == (path != "/docs/")
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"

    async def test_bundle_may_be_cached(self, gateway: Gateway) -> None:
        reply = await gateway.get("/docs/assets/swagger-ui.css")
        assert reply.headers.get_all("cache-control") == ["public, max-age=3600"]

    async def test_docs_without_slash_redirects(self, gateway: Gateway) -> None:
        reply = await gateway.get("/docs")
        assert (reply.status, reply.headers["location"]) == (301, f"http://127.0.0.1:{gateway.port}/docs/")

    @pytest.mark.parametrize(
        "path",
        [
            "/nothing.html",
            "/docs/nothing",
            "/docs/assets/nothing.js",
            "/envoy.yaml",
            "/docs/assets/../../gen/bank.binpb",
        ],
    )
    async def test_missing_file_is_not_found(self, gateway: Gateway, path: str) -> None:
        reply = await gateway.get(path)
        assert (reply.status, reply.reason) == (404, "NOT_FOUND")

    async def test_folder_without_page_is_not_listed(self, gateway: Gateway) -> None:
        reply = await gateway.get("/docs/assets/")
        assert reply.status in {403, 404}
        assert b"swagger-ui" not in reply.body

    async def test_writing_to_a_page_is_refused(self, gateway: Gateway) -> None:
        reply = await gateway.post("/docs/", "x")
        assert (reply.status, reply.reason) == (405, "NOT_FOUND")

    async def test_head_answers_without_body(self, gateway: Gateway) -> None:
        reply = await gateway.send("HEAD", "/docs/")
        assert (reply.status, reply.body) == (200, b"")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A phone-sized page in dark mode that must not log errors."""
    page = await browser.new_page(viewport={"width": 375, "height": 700}, color_scheme="dark")
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(error.message))
    yield page
    assert [text for text in complaints if "status of 4" not in text and "status of 5" not in text] == []


class TestDocsPage:
    async def test_method_can_be_tried_out(self, gateway: Gateway, browser: Browser, tmp_path: Path) -> None:
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await page.goto(f"http://127.0.0.1:{gateway.port}/docs/")
        operation = page.locator(".opblock", has_text="/v1/transfers").filter(has_text="GET").first
        await operation.locator(".opblock-summary-control").click()
        await operation.get_by_role("button", name="Execute").click()
        await expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
        await page.screenshot(path=tmp_path / "docs.png")
        assert complaints == []


class TestVerifyEmailPage:
    async def test_token_is_posted_once_and_leaves_the_address_bar(
        self, gateway: Gateway, page: Page, tmp_path: Path
    ) -> None:
        url = f"http://127.0.0.1:{gateway.port}/verify-email.html"
        async with page.expect_request("**/v1/users:verifyEmail") as posted:
            await page.goto(f"{url}#token={TOKEN}")
        request = await posted.value
        assert request.method == "POST"
        assert request.post_data_json == {"token": TOKEN}
        await expect(page.get_by_role("status")).to_have_text("alice@example.org is verified. You can close this page.")
        assert page.url == url
        assert TOKEN not in await page.content()
        await page.screenshot(path=tmp_path / "verified.png")

    async def test_refusal_is_shown_as_the_server_words_it(self, gateway: Gateway, page: Page, tmp_path: Path) -> None:
        await page.goto(f"http://127.0.0.1:{gateway.port}/verify-email.html#token=used")
        await expect(page.get_by_role("status")).to_have_text("The address could not be verified: the link was used")
        await expect(page.get_by_role("button")).to_have_count(0)
        await page.screenshot(path=tmp_path / "refused.png")

    async def test_failure_that_may_pass_can_be_tried_again_by_keyboard(self, gateway: Gateway, page: Page) -> None:
        await page.goto(f"http://127.0.0.1:{gateway.port}/verify-email.html#token=unavailable-once")
        await expect(page.get_by_role("status")).to_have_text("The service cannot answer just now.")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("is verified")

    async def test_link_without_token_is_explained(self, gateway: Gateway, page: Page) -> None:
        await page.goto(f"http://127.0.0.1:{gateway.port}/verify-email.html")
        await expect(page.get_by_role("status")).to_contain_text("This link is incomplete")


class TestResetPasswordPage:
    async def test_token_and_password_are_posted_and_leave_no_trace(
        self, gateway: Gateway, page: Page, tmp_path: Path
    ) -> None:
        url = f"http://127.0.0.1:{gateway.port}/reset-password.html"
        await page.goto(f"{url}#token={TOKEN}")
        assert page.url == url
        assert TOKEN not in await page.content()
        await page.screenshot(path=tmp_path / "reset.png")
        async with page.expect_request("**/v1/users:resetPassword") as posted:
            await page.get_by_label("New password").fill(PASSWORD)
            await page.keyboard.press("Enter")
        request = await posted.value
        assert request.method == "POST"
        assert request.post_data_json == {"token": TOKEN, "new_password": PASSWORD}
        await expect(page.get_by_role("status")).to_contain_text("The password is set")
        await expect(page.get_by_role("button")).to_have_count(0)
        assert page.url == url
        assert await page.locator("#password").input_value() == ""

    async def test_password_is_shown_on_demand_only(self, gateway: Gateway, page: Page) -> None:
        await page.goto(f"http://127.0.0.1:{gateway.port}/reset-password.html#token={TOKEN}")
        field = page.get_by_label("New password")
        await expect(field).to_have_attribute("type", "password")
        await page.get_by_label("Show it").check()
        await expect(field).to_have_attribute("type", "text")

    async def test_password_that_is_refused_is_explained_and_another_one_can_be_tried(
        self, gateway: Gateway, page: Page, tmp_path: Path
    ) -> None:
        await page.goto(f"http://127.0.0.1:{gateway.port}/reset-password.html#token={TOKEN}")
        await page.get_by_label("New password").fill("short")
        await page.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_have_text("The password must have 15 characters or more.")
        await page.screenshot(path=tmp_path / "refused.png")
        await page.get_by_label("New password").fill(PASSWORD)
        await page.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_contain_text("The password is set")

    async def test_link_that_was_used_is_explained_as_the_server_words_it(self, gateway: Gateway, page: Page) -> None:
        await page.goto(f"http://127.0.0.1:{gateway.port}/reset-password.html#token=used")
        await page.get_by_label("New password").fill(PASSWORD)
        await page.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_have_text("The password could not be set: the link was used")
        await expect(page.get_by_role("button")).to_have_count(0)

    async def test_failure_that_may_pass_can_be_tried_again(self, gateway: Gateway, page: Page) -> None:
        await page.goto(f"http://127.0.0.1:{gateway.port}/reset-password.html#token=unavailable-once")
        await page.get_by_label("New password").fill(PASSWORD)
        await page.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_contain_text("cannot answer just now")
        await page.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_contain_text("The password is set")

    async def test_link_without_token_is_explained(self, gateway: Gateway, page: Page) -> None:
        await page.goto(f"http://127.0.0.1:{gateway.port}/reset-password.html")
        await expect(page.get_by_role("status")).to_contain_text("This link is incomplete")
        await expect(page.get_by_role("button")).to_have_count(0)
