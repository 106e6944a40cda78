"""The browser of the tests: the system's Chromium."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start it; without one the test is skipped, except in CI, which has to have one."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        assert not os.environ.get("CI"), "CI installs chromium, and it is missing"
        pytest.skip("there is no chromium on PATH: install it to test the pages in a browser")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable)
        try:
            yield browser
        finally:
            await browser.close()
