"""Figures as Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path

from bench.load import Result

LAST_RUN = "## The last run\n"


def medians(runs: Sequence[Result]) -> Result:
    """The median of each figure of one row."""
    return Result(*(statistics.median(values) for values in zip(*map(astuple, runs), strict=True)))


def write(path: Path, report: str) -> None:
    """Put the report below the heading of the last run; what stands above it is written by hand and stays."""
    text = path.read_text() if path.exists() else "# Benchmarks\n\n"
    path.write_text(f"{text.partition(LAST_RUN)[0]}{LAST_RUN}\n{report}\n")


def table(rows: Mapping[str, Result]) -> str:
    """One line for each row."""
    lines = [
        "| | per second | database CPU each | server CPU each | p50 | p95 | p99 | failures |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, result in rows.items():
        latencies = (f"{value:.1f} ms" if value else "–" for value in (result.p50_ms, result.p95_ms, result.p99_ms))
        server = f"{result.server_us:.0f} µs" if result.server_us else "–"
        lines.append(
            f"| {row} | {result.rate:,.0f} | {result.database_us:.0f} µs | {server} | {' | '.join(latencies)}"
            f" | {result.failures:.0f} |"
        )
    return "\n".join(lines)


def bars(rows: Mapping[str, Result]) -> str:
    """Ratios within the run, with what they shall reach; only of rows that were run."""
    wanted = (
        ("database CPU, unary against yardstick", "database_us", "unary, uniform", "yardstick", "at most", 0.5),
        (
            "database CPU, batches of 200 against yardstick",
            "database_us",
            "batches of 200",
            "yardstick",
            "at most",
            0.2,
        ),
        ("rate, unary against empty handler", "rate", "unary, uniform", "empty handler", "at least", 0.65),
        ("rate, unary against yardstick", "rate", "unary, uniform", "yardstick", "at least", 0.65),
        ("rate, batches of 200 against yardstick", "rate", "batches of 200", "yardstick", "at least", 3.0),
        ("rate, hot destination against uniform", "rate", "unary, hot destination", "unary, uniform", "at least", 0.8),
        ("rate, hot source against uniform", "rate", "unary, hot source", "unary, uniform", "at least", 0.8),
        ("rate, orders against yardstick", "rate", "orders", "yardstick", "at least", 0.1),
        ("rate, JSON through Envoy against gRPC", "rate", "JSON through Envoy", "unary, uniform", "at least", 0.7),
    )
    lines = ["| ratio | bar | measured | |", "|---|---|---|---|"]
    for label, attribute, row, base, direction, bar in wanted:
        if row not in rows or base not in rows:
            continue
        ratio = getattr(rows[row], attribute) / getattr(rows[base], attribute)
        met = ratio <= bar if direction == "at most" else ratio >= bar
        lines.append(f"| {label} | {direction} {bar} | {ratio:.2f} | {'met' if met else 'missed'} |")
    paced = rows.get("open loop, 100/s")
    if paced:
        met = "met" if paced.p99_ms <= 15 else "missed"
        lines.append(f"| p99 at 100 transfers/s | at most 15 ms | {paced.p99_ms:.1f} ms | {met} |")
    return "\n".join(lines)
