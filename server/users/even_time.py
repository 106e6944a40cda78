"""Answers that take the same time whatever was done for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MAIL_ANSWER_S = 0.1
"""Well above what it takes to write a mail's token and job, so that nobody can tell whether any were written."""


@asynccontextmanager
async def taking_at_least(duration_s: float) -> AsyncIterator[None]:
    """Spend at least so many seconds on the body."""
    loop = asyncio.get_running_loop()
    end = loop.time() + duration_s
    yield
    await asyncio.sleep(end - loop.time())
