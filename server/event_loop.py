"""How late the event loop is: what keeps it busy holds up every call of the process."""

import asyncio
from time import perf_counter
from typing import NoReturn

from server.metrics import LOOP_LAG

_INTERVAL_S = 0.25


async def measure_lag() -> NoReturn:
    """Sleep again and again, and note how late the loop woke us, until cancelled."""
    while True:
        due = perf_counter() + _INTERVAL_S
        await asyncio.sleep(_INTERVAL_S)
        LOOP_LAG.observe(max(0.0, perf_counter() - due))
