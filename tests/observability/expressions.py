"""Every expression of dashboards, recording rules and alerts, and the metrics that it names."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local.settings import ROOT

RULES = ROOT / "observability" / "prometheus" / "rules"
DASHBOARDS = ROOT / "observability" / "grafana" / "dashboards"
# What Grafana fills in.
_VARIABLES = {"$instance": ".*", "$__rate_interval": "1m", "$__interval": "1m"}
_KEYWORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}
_TEXT = re.compile(r'"[^"]*"')
_SELECTOR = re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]")
_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
_NAME = re.compile(r"(?<![\w.])[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()")


@dataclass(frozen=True)
class Expression:
    """One expression of PromQL, and where it stands."""

    place: str
    text: str

    def metrics(self) -> set[str]:
        """The names of the metrics in it."""
        text = _LABELS.sub(" ", _SELECTOR.sub(" ", _TEXT.sub('""', self.text)))
        return set(_NAME.findall(text)) - _KEYWORDS


def _rules(file: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def rules(kind: str) -> list[dict[str, Any]]:
    """All rules of a kind: record or alert."""
    return [rule for file in sorted(RULES.glob("*.yml")) for rule in _rules(file) if kind in rule]


def boards() -> list[dict[str, Any]]:
    """All dashboards."""
    return [json.loads(file.read_text()) for file in sorted(DASHBOARDS.glob("*.json"))]


def of_rules(kind: str) -> list[Expression]:
    """What the rules of a kind are."""
    return [
        Expression(f"{rule[kind]} {rule.get('labels', {}).get('window', '')}", rule["expr"]) for rule in rules(kind)
    ]


def of_dashboards() -> list[Expression]:
    """What the panels ask for."""
    return [
        Expression(f"{board['title']}: {panel['title']} {target['refId']}", _filled(target["expr"]))
        for board in boards()
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]


def _filled(text: str) -> str:
    for name, value in _VARIABLES.items():
        text = text.replace(name, value)
    return text
