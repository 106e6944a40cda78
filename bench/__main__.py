"""`make bench`: service and yardstick in turn on one machine; medians as a table, bars as ratios."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.bank import Bank, running_bank
from bench.load import (
    Result,
    batches,
    json_calls,
    machine,
    open_loop,
    prepare_yardstick,
    tools_are_missing,
    unary,
    yardstick,
)
from bench.report import bars, medians, table, write
from bench.requests import HOT_DESTINATION, HOT_SOURCE, ORDERS

_Row = Callable[[], Awaitable[Result]]


async def main() -> int:
    """Run the rounds, check the ledger, write the report."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--processes", type=int, default=2, help="of the server")
    parser.add_argument("--only", help="rows whose name holds this word, beside the yardstick")
    parser.add_argument("--report", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    if tools_are_missing():
        return 2
    with tempfile.TemporaryDirectory(prefix="bank-bench-") as name:
        folder = Path(name)
        async with running_bank(folder / "state", options.processes) as bank, _empty_server(bank, folder) as empty:
            await prepare_yardstick(bank)
            rows = _rows(bank, folder, options, *empty)
            results: dict[str, list[Result]] = {row: [] for row in rows}
            for number in range(options.rounds):
                for row, run in rows.items():
                    results[row].append(await run())
                    print(f"round {number + 1}: {row}: {results[row][-1].rate:,.0f}/s", file=sys.stderr)
            consistent = await bank.adds_up()
    found = {row: medians(runs) for row, runs in results.items()}
    setting = (
        f"{machine()}; {options.processes} server processes, {options.callers} callers, medians of {options.rounds}"
        f" runs of {options.seconds} s, {datetime.now(UTC):%d %B %Y}"
    )
    report = "\n".join([setting, "", table(found), "", bars(found), "", f"The ledger adds up: {consistent}."])
    print(report)
    if options.report:
        write(options.report, report)
    return 0 if consistent and not any(result.failures for result in found.values()) else 1


def _rows(
    bank: Bank, folder: Path, options: argparse.Namespace, empty_ports: list[int], empty_pid: int
) -> dict[str, _Row]:
    seconds, callers = options.seconds, options.callers
    rows: dict[str, _Row] = {
        "yardstick": lambda: yardstick(bank, seconds),
        "empty handler": lambda: unary(bank, seconds, callers, folder, ports=empty_ports, server=empty_pid),
        "unary, uniform": lambda: unary(bank, seconds, callers, folder),
        "unary, hot destination": lambda: unary(bank, seconds, callers, folder, HOT_DESTINATION),
        "unary, hot source": lambda: unary(bank, seconds, callers, folder, HOT_SOURCE),
        "mixed: half transfers, half lists of entries": lambda: unary(bank, seconds, callers, folder, readers=2),
        "JSON through Envoy": lambda: json_calls(bank, seconds, callers, folder),
        "batches of 1": lambda: batches(bank, seconds, 1),
        "batches of 20": lambda: batches(bank, seconds, 20),
        "batches of 200": lambda: batches(bank, seconds, 200),
        "batches of 1,000": lambda: batches(bank, seconds, 1000),
        "orders": lambda: unary(bank, seconds, callers, folder, ORDERS),
        "open loop, 100/s": lambda: open_loop(bank, seconds, 100),
    }
    return {row: run for row, run in rows.items() if row == "yardstick" or not options.only or options.only in row}


@asynccontextmanager
async def _empty_server(bank: Bank, folder: Path) -> AsyncIterator[tuple[list[int], int]]:
    """As many processes as the bank's with a handler that does nothing; their ports, and their parent."""
    ports = [port + 100 for port in bank.server_ports]
    environment = bank.environment | {
        "BANK_ENVIRONMENT": "test",
        "DATABASE_URL": bank.application_url,
        "REDIS_URL": "redis://unused",
        "TOKEN_KEYS_FILE": str(folder / "state" / "token_keys.json"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.empty", *map(str, ports), env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    await asyncio.sleep(2)
    try:
        yield ports, process.pid
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
