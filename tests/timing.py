"""How long things take, on a machine that may stand still for a while."""

from collections.abc import Callable
from time import perf_counter

TRIES = 5


def shortest_s(call: Callable[[], object], tries: int = TRIES) -> float:
    """The shortest time of several tries: what the machine does besides counts only when it is in all of them."""
    times = []
    for _ in range(tries):
        started = perf_counter()
        call()
        times.append(perf_counter() - started)
    return min(times)
