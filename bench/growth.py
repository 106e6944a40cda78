"""`make bench-growth`: the same load on a ledger of 10,000 accounts and on one that was in use for years.

First the small ledger is measured, then it grows by SQL, the worker seals what was added into the
hash chain, the same rows are measured again, and VerifyLedger reads all of it.
"""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import asyncpg

from bench.bank import Bank, running_bank
from bench.load import ROOT, Result, batches, machine, run, tools_are_missing, unary
from bench.report import medians, table, write
from local.postgres import binary

_POLL_S = 1.0


async def main() -> int:
    """Measure, grow, measure, verify, write the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5, help="transfers of each account; two entries each")
    parser.add_argument("--seconds", type=int, default=10, help="of each run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--report", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    if tools_are_missing():
        return 2
    with tempfile.TemporaryDirectory(prefix="bank-growth-") as name:
        folder = Path(name)
        async with running_bank(folder / "state", 2) as bank:
            small = await _measure(bank, folder, options)
            bank = await _grow(bank, options)
            large = await _measure(bank, folder, options)
            started = perf_counter()
            consistent = await bank.adds_up()
            verify_s = perf_counter() - started
    entries = 2 * options.accounts * options.rounds
    setting = (
        f"{machine()}; {options.accounts:,} accounts and {entries:,} entries beside 10,000 accounts, medians of"
        f" {options.runs} runs of {options.seconds} s, {datetime.now(UTC):%d %B %Y}"
    )
    rows = {f"{row}, small": result for row, result in small.items()}
    rows |= {f"{row}, large": result for row, result in large.items()}
    ratios = "\n".join(
        f"| rate, {row}, large against small | at least 0.8 | {large[row].rate / small[row].rate:.2f}"
        f" | {'met' if large[row].rate >= 0.8 * small[row].rate else 'missed'} |"
        for row in small
    )
    verdict = f"VerifyLedger read all of it in {verify_s:.0f} s. The ledger adds up: {consistent}."
    head = "| ratio | bar | measured | |\n|---|---|---|---|"
    report = "\n".join([setting, "", table(rows), "", head, ratios, "", verdict])
    print(report)
    if options.report:
        write(options.report, report)
    return 0 if consistent and not any(result.failures for result in rows.values()) else 1


async def _measure(bank: Bank, folder: Path, options: argparse.Namespace) -> dict[str, Result]:
    runs: dict[str, list[Result]] = {"unary": [], "batches of 200": []}
    for number in range(options.runs):
        runs["unary"].append(await unary(bank, options.seconds, 64, folder))
        runs["batches of 200"].append(await batches(bank, options.seconds, 200))
        print(f"run {number + 1}: {', '.join(f'{row} {runs[row][-1].rate:,.0f}/s' for row in runs)}", file=sys.stderr)
    return {row: medians(results) for row, results in runs.items()}


async def _grow(bank: Bank, options: argparse.Namespace) -> Bank:
    """The bank with many more accounts, each with its history, all of it sealed."""
    connection = await asyncpg.connect(bank.owner_url)
    await _until(connection, "SELECT NOT exists(SELECT FROM events WHERE position IS NULL)")
    variables = {
        "owners": "{" + ",".join(str(owner.user_id) for owner in bank.owners) + "}",
        "accounts": options.accounts,
        "rounds": options.rounds,
        "first_position": await connection.fetchval("SELECT max(position) + 1 FROM events"),
    }
    arguments = [argument for name, value in variables.items() for argument in ("-v", f"{name}={value}")]
    started = perf_counter()
    growth = str(ROOT / "bench" / "growth.sql")
    await run(str(binary("psql")), "-q", "-v", "ON_ERROR_STOP=1", *arguments, "-d", bank.superuser_url, "-f", growth)
    print(f"grew in {perf_counter() - started:.0f} s", file=sys.stderr)
    await _until(
        connection,
        "SELECT (SELECT max(position) FROM events) - (SELECT max(last_position) FROM ledger_blocks) <= 1000",
    )
    print(f"sealed after {perf_counter() - started:.0f} s", file=sys.stderr)
    owners = [
        replace(
            owner,
            account_ids=[
                row["id"]
                for row in await connection.fetch("SELECT id FROM accounts WHERE owner_user_id = $1", owner.user_id)
            ],
        )
        for owner in bank.owners
    ]
    await connection.close()
    return replace(bank, owners=owners)


async def _until(connection: asyncpg.Connection, condition: str) -> None:
    while not await connection.fetchval(condition):  # noqa: ASYNC110 - in the database
        await asyncio.sleep(_POLL_S)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
