"""What dashboards, rules and alerts ask a real Prometheus for, it has; the rules do what their tests say."""

import asyncio
from time import monotonic

import pytest

from local.settings import ROOT
from tests.observability.conftest import Observed
from tests.observability.expressions import RULES, Expression, boards, of_dashboards, of_rules, rules

pytestmark = pytest.mark.timeout(240)
_PATIENCE_S = 30


async def until_there(observed: Observed, expression: Expression) -> bool:
    """Whether it gives anything, after some scrapes at the latest."""
    give_up = monotonic() + _PATIENCE_S
    while not await observed.query(expression.text):
        if monotonic() > give_up:
            return False
        await asyncio.sleep(0.5)
    return True


class TestExpression:
    def test_names_of_metrics_are_told_from_labels_and_functions(self) -> None:
        text = 'sum by (a, le) (rate(b_total{c="d_e"}[5m])) / on (f) max(g:h) and time() > 1e3 or i offset 5m'
        assert Expression("", text).metrics() == {"b_total", "g:h", "i"}


class TestDashboards:
    async def test_every_query_of_every_panel_returns_data(self, observed: Observed) -> None:
        found = await asyncio.gather(*(until_there(observed, each) for each in of_dashboards()))
        empty = [each.place for each, there in zip(of_dashboards(), found, strict=True) if not there]
        assert len(found) > 40
        assert empty == []

    async def test_annotations_and_variables_are_no_errors(self, observed: Observed) -> None:
        for board in boards():
            for annotation in board["annotations"]["list"]:
                await observed.query(annotation["expr"].replace("$__interval", "1m"))
            (instance,) = [each for each in board["templating"]["list"] if each["name"] == "instance"]
            selector = instance["query"]["query"].removeprefix("label_values(").rpartition(",")[0]
            assert await observed.query(selector), board["title"]

    def test_every_panel_says_what_it_shows_in_which_unit(self) -> None:
        for board in boards():
            panels = [panel for panel in board["panels"] if panel["type"] != "row"]
            for panel in panels:
                assert panel["title"], board["title"]
                assert panel["description"], panel["title"]
                assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert len({panel["title"] for panel in panels}) == len(panels)


class TestCounts:
    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ('sum(ledger_money_moved_minor_total{job="server", kind="TRANSFER", currency="USD"})', 100),
            ('sum(ledger_money_moved_minor_total{job="worker", kind="TRANSFER", currency="USD"})', 7),
            ('sum(ledger_money_moved_minor_total{kind="CAPTURE", currency="USD"})', 14),
            ('sum(rpc_server_refusals_total{reason="INSUFFICIENT_FUNDS"})', 1),
            ('sum(rpc_server_refusals_total{reason="CONTENTION"})', 1),
            ('sum(ledger_verifications_total{result="consistent"})', 1),
            ("max(worker_dead_letters)", 0),
            ("sum(build_info)", 3),
        ],
    )
    async def test_metric_says_what_the_traffic_was(self, observed: Observed, expression: str, expected: int) -> None:
        give_up, value = monotonic() + _PATIENCE_S, None
        while value != expected and monotonic() < give_up:
            found = await observed.query(expression)
            value = float(found[0]["value"][1]) if found else None
            await asyncio.sleep(0.3)
        assert value == expected


class TestRules:
    async def test_none_fails(self, observed: Observed) -> None:
        wanted = len(rules("record")) + len(rules("alert"))
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                groups = (await observed.ask("rules"))["groups"]
                loaded = [rule for group in groups for rule in group["rules"]]
                if all(rule["health"] != "unknown" for rule in loaded):
                    break
                await asyncio.sleep(0.5)
        assert len(loaded) == wanted
        assert [(rule["name"], rule.get("lastError")) for rule in loaded if rule["health"] != "ok"] == []

    async def test_every_recorded_series_has_data(self, observed: Observed) -> None:
        for rule in rules("record"):
            assert await until_there(observed, Expression(rule["record"], rule["record"])), rule["record"]

    async def test_every_metric_that_is_named_exists(self, observed: Observed) -> None:
        expressions = [*of_dashboards(), *of_rules("record"), *of_rules("alert")]
        named = {name: each.place for each in expressions for name in each.metrics()}
        for _ in range(_PATIENCE_S):
            existing = set(await observed.ask("label/__name__/values"))
            missing = {name: place for name, place in named.items() if name not in existing}
            if not missing:
                break
            await asyncio.sleep(1)
        assert len(named) > 30
        assert missing == {}

    async def test_nothing_is_alarming_about_a_stack_in_good_order(self, observed: Observed) -> None:
        alerts = (await observed.ask("alerts"))["alerts"]
        firing = {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
        # Its traffic was made to be refused and to be late, in a window as short as its life.
        assert firing <= {"ServerErrorBudgetBurn", "LatencyBudgetBurn", "LedgerContention"}

    def test_each_alert_has_its_page_and_each_page_its_alert(self) -> None:
        pages = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in rules("alert")}
        for alert, page in pages.items():
            assert (ROOT / page).read_text().startswith(f"# {alert}\n"), page
        written = {f"docs/runbooks/{file.name}" for file in (ROOT / "docs" / "runbooks").glob("*.md")}
        assert written - set(pages.values()) == {"docs/runbooks/index.md"}
        index = (ROOT / "docs" / "runbooks" / "index.md").read_text()
        assert [alert for alert in pages if f"[{alert}](" not in index] == []

    def test_each_alert_is_tested_to_fire_and_to_keep_still(self) -> None:
        tested = "".join(file.read_text() for file in (RULES / "tests").glob("*.yml"))
        for rule in rules("alert"):
            cases = tested.split(f"alertname: {rule['alert']}\n")[1:]
            silent = [case.lstrip().startswith("exp_alerts: []") for case in cases]
            assert True in silent, rule["alert"]
            assert False in silent, rule["alert"]
