"""How much money was posted, for the metrics."""

from collections.abc import Iterable

from prometheus_client import Counter

from server.ledger.movements import Kind, Posted
from server.metrics import LEDGER_MONEY_MOVED

# Looked up once for each currency and kind, not for each posting.
_counters: dict[tuple[str, Kind], Counter] = {}


def count_money(posted: Iterable[Posted]) -> None:
    """Count what was committed, once."""
    for each in posted:
        key = (each.movement.currency_code, each.movement.kind)
        counter = _counters.get(key)
        if counter is None:
            counter = _counters[key] = LEDGER_MONEY_MOVED.labels(*key)
        counter.inc(each.amount_minor)
