"""Load from outside: pgbench for the yardstick, ghz and wrk for calls, our own client for batches and open loop."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
from bank.v1.transfer_service_pb2 import BatchCreateTransfersResponse, CreateTransferRequest, CreateTransferResponse
from google.protobuf.message import Message

from bench.bank import Bank, Owner
from bench.cpu import tree_seconds
from bench.requests import ORDERS, UNIFORM, delimited, orders, readings, transfers
from bench.requests import batches as batch_requests
from local.postgres import binary

ROOT = Path(__file__).resolve().parent.parent
CALLS_PER_S = 1_500
"""Prepared for each generator and second; one that ran out would repeat request ids, and so do nothing."""
BATCHED_PER_S = 8_000
"""Prepared for each caller of batches and second."""
GENERATORS = 4
"""ghz processes, each with the token of one owner; a multiple of the server processes."""
_REAPED_S = 0.5
"""After which the postmaster has counted the time of backends that have ended."""
LIST_ENTRIES = "bank.v1.AccountService/ListEntries"
CREATE_TRANSFER = "bank.v1.TransferService/CreateTransfer"
CREATE_ORDER = "bank.v1.OrderService/CreateOrder"


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        rate: Transfers, or calls where nothing is transferred, that succeeded, a second.
        database_us: Database CPU for each of them, in microseconds; the worker's sequencer included.
        server_us: CPU of the server processes for each, in microseconds.
        p50_ms, p95_ms, p99_ms: Latencies of calls; zero where the tool tells none.
        failures: Calls that did not succeed.
    """

    rate: float
    database_us: float
    server_us: float = 0
    p50_ms: float = 0
    p95_ms: float = 0
    p99_ms: float = 0
    failures: int = 0


class _Meter:
    """CPU of database and server between two moments."""

    def __init__(self, bank: Bank, server: int | None = None) -> None:
        self._bank, self._server = bank, server or bank.server
        self._database_s, self._server_s = tree_seconds(bank.postmaster), tree_seconds(self._server)

    def read(self, count: int) -> tuple[float, float]:
        """Microseconds of database and server CPU for each of `count`."""
        database_s = tree_seconds(self._bank.postmaster) - self._database_s
        server_s = tree_seconds(self._server) - self._server_s
        return database_s / max(count, 1) * 1e6, server_s / max(count, 1) * 1e6


async def prepare_yardstick(bank: Bank) -> None:
    """Make the yardstick's tables."""
    psql = str(binary("psql"))
    await run(psql, "-q", "-d", bank.superuser_url, "-f", str(ROOT / "bench" / "textbook_schema.sql"))
    await run(psql, "-q", "-d", bank.superuser_url, "-c", "VACUUM ANALYZE")


async def yardstick(bank: Bank, seconds: int) -> Result:
    """The textbook transfer, one transaction each, by 16 clients of pgbench on the same server."""
    meter = _Meter(bank)
    script = str(ROOT / "bench" / "textbook.sql")
    command = [
        str(binary("pgbench")),
        *["-n", "-M", "prepared", "-c", "16", "-j", "1"],
        "-T",
        str(seconds),
        "-f",
        script,
    ]
    output = await run(*command, bank.superuser_url)
    await asyncio.sleep(_REAPED_S)
    label = "number of transactions actually processed:"
    count = int(next(line for line in output.splitlines() if line.startswith(label)).removeprefix(label))
    return Result(rate=count / seconds, database_us=meter.read(count)[0])


async def unary(
    bank: Bank,
    seconds: int,
    callers: int,
    folder: Path,
    pattern: str = UNIFORM,
    ports: Sequence[int] = (),
    server: int = 0,
    readers: int = 0,
) -> Result:
    """CreateTransfer or CreateOrder by ghz, its callers spread over the server processes.

    Args:
        bank: What is called.
        seconds: How long.
        callers: How many calls at once altogether.
        folder: Where to write the requests.
        pattern: See bench/requests.py.
        ports: Other ports than the bank's, and
        server: the process whose tree listens there.
        readers: How many of the GENERATORS call ListEntries instead.

    Raises:
        RuntimeError: More calls were made than requests prepared.
    """
    ghz = shutil.which("ghz") or str(Path.home() / "go" / "bin" / "ghz")
    ports = ports or bank.server_ports
    common = ["--insecure", "-c", str(callers // GENERATORS), "--connections", "2"]
    common += ["-z", f"{seconds}s", "--duration-stop", "wait", "-O", "json"]
    common += ["--protoset", str(ROOT / "gen" / "bank.binpb")]
    prepared = seconds * CALLS_PER_S
    commands = []
    for number in range(GENERATORS):
        owner = bank.owners[number]
        method, requests = _calls(bank, owner, number, pattern, reads=number >= GENERATORS - readers)
        path = folder / f"calls-{number}.bin"
        path.write_bytes(b"".join(delimited(each.SerializeToString()) for each in islice(requests, prepared)))
        authorization = json.dumps({"authorization": f"Bearer {owner.token}"})
        address = f"127.0.0.1:{ports[number % len(ports)]}"
        commands.append([ghz, *common, "--call", method, "-B", str(path), "-m", authorization, address])
    meter = _Meter(bank, server or None)
    outputs = await asyncio.gather(*(run(*command) for command in commands))
    reports = [json.loads(output) for output in outputs]
    if any(report["count"] > prepared for report in reports):
        raise RuntimeError(f"{prepared} requests were too few: raise CALLS_PER_S")
    good = sum(report["statusCodeDistribution"].get("OK", 0) for report in reports)
    database_us, server_us = meter.read(good)
    return Result(
        rate=good / (max(report["total"] for report in reports) / 1e9),
        database_us=database_us,
        server_us=server_us,
        p50_ms=_percentile_ms(reports, 50),
        p95_ms=_percentile_ms(reports, 95),
        p99_ms=_percentile_ms(reports, 99),
        failures=sum(report["count"] for report in reports) - good,
    )


def _calls(bank: Bank, owner: Owner, seed: int, pattern: str, *, reads: bool) -> tuple[str, Iterator[Message]]:
    """What one generator calls, and with which requests."""
    if reads:
        return LIST_ENTRIES, readings(owner, seed)
    if pattern == ORDERS:
        return CREATE_ORDER, orders(bank, owner, seed)
    return CREATE_TRANSFER, transfers(bank, owner, pattern, seed)


def _percentile_ms(reports: Sequence[dict[str, Any]], percentage: int) -> float:
    """The worst of what the generators saw, of which each knows only its own calls."""
    return max(
        (
            each["latency"] / 1e6
            for report in reports
            for each in report["latencyDistribution"] or []
            if each["percentage"] == percentage
        ),
        default=0.0,
    )


async def json_calls(bank: Bank, seconds: int, callers: int, folder: Path) -> Result:
    """CreateTransfer as JSON through Envoy, by wrk."""
    script = folder / "transfers.lua"
    owner, other = bank.owners[0], bank.owners[1]
    script.write_text(
        _LUA.format(
            sources=", ".join(f'"{each}"' for each in owner.account_ids[:500]),
            destinations=", ".join(f'"{each}"' for each in other.account_ids[:500]),
            token=owner.token,
        )
    )
    meter = _Meter(bank)
    before = await bank.transfer_count()
    options = ["-t1", f"-c{callers}", f"-d{seconds}s", "--latency", "-s", str(script)]
    output = await run("wrk", *options, f"http://127.0.0.1:{bank.gateway_port}/v1/transfers")
    good = await bank.transfer_count() - before
    database_us, server_us = meter.read(good)
    latency = {words[0]: _ms(words[1]) for words in map(str.split, output.splitlines()) if words and "%" in words[0]}
    failures = next((int(line.split()[-1]) for line in output.splitlines() if "Non-2xx" in line), 0)
    return Result(
        rate=good / seconds,
        database_us=database_us,
        server_us=server_us,
        p50_ms=latency.get("50%", 0),
        p99_ms=latency.get("99%", 0),
        failures=failures,
    )


_LUA = """
local sources = {{ {sources} }}
local destinations = {{ {destinations} }}
math.randomseed(os.time())
local function hex(length)
  local digits = {{}}
  for index = 1, length do digits[index] = string.format("%x", math.random(0, 15)) end
  return table.concat(digits)
end
local headers = {{ ["Authorization"] = "Bearer {token}", ["Content-Type"] = "application/json" }}
request = function()
  local id = hex(8) .. "-" .. hex(4) .. "-4" .. hex(3) .. "-8" .. hex(3) .. "-" .. hex(12)
  local body = '{{"request_id":"' .. id .. '","source_account_id":"' .. sources[math.random(#sources)] ..
    '","destination_account_id":"' .. destinations[math.random(#destinations)] ..
    '","amount_minor":"1","currency_code":"USD"}}'
  return wrk.format("POST", nil, headers, body)
end
"""


def _ms(text: str) -> float:
    for unit, factor in (("us", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 6e4)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return 0


async def batches(bank: Bank, seconds: int, size: int, callers: int = 4) -> Result:
    """BatchCreateTransfers of `size` items each, by our own client; answers are looked at after the run."""
    times: list[float] = []
    answers: list[bytes] = []
    prepared = [
        [
            request.SerializeToString()
            for request in islice(
                batch_requests(bank, bank.owners[number], size, number), seconds * BATCHED_PER_S // size
            )
        ]
        for number in range(callers)
    ]
    meter = _Meter(bank)
    began = perf_counter()

    async def caller(number: int) -> None:
        owner = bank.owners[number]
        port = bank.server_ports[number % len(bank.server_ports)]
        options = [("grpc.max_receive_message_length", 16 * 1024 * 1024)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            call: Any = channel.unary_unary("/bank.v1.TransferService/BatchCreateTransfers")
            for request in prepared[number]:
                started = perf_counter()
                if started - began > seconds:
                    return
                answers.append(await call(request, metadata=[("authorization", f"Bearer {owner.token}")]))
                times.append(perf_counter() - started)
            raise RuntimeError("the requests were too few: raise BATCHED_PER_S")

    await asyncio.gather(*(caller(number) for number in range(callers)))
    took_s = perf_counter() - began
    results = [result for answer in answers for result in BatchCreateTransfersResponse.FromString(answer).results]
    failures = sum(result.HasField("status") for result in results)
    return _timed(times, len(results) - failures, took_s, meter, failures)


async def open_loop(bank: Bank, seconds: int, rate: int) -> Result:
    """CreateTransfer at fixed moments, whatever became of the calls before."""
    owner = bank.owners[0]
    times: list[float] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{bank.server_ports[0]}") as channel:
        call = channel.unary_unary(
            "/" + CREATE_TRANSFER,
            request_serializer=CreateTransferRequest.SerializeToString,
            response_deserializer=CreateTransferResponse.FromString,
        )

        async def one(due: float, request: CreateTransferRequest) -> None:
            await asyncio.sleep(max(0.0, due - perf_counter()))
            await call(request, metadata=[("authorization", f"Bearer {owner.token}")])
            # From when it was due, so that a stall is paid for by every call it delays.
            times.append(perf_counter() - due)

        requests = list(islice(transfers(bank, owner, UNIFORM, GENERATORS), seconds * rate))
        meter = _Meter(bank)
        begin = perf_counter() + 0.1
        await asyncio.gather(*(one(begin + number / rate, request) for number, request in enumerate(requests)))
        return _timed(times, len(times), perf_counter() - begin, meter, 0)


def _timed(times: list[float], count: int, seconds: float, meter: _Meter, failures: int) -> Result:
    database_us, server_us = meter.read(count)
    times.sort()
    p50, p95, p99 = (times[int(len(times) * part)] * 1e3 if times else 0 for part in (0.5, 0.95, 0.99))
    return Result(count / seconds, database_us, server_us, p50, p95, p99, failures)


async def run(*command: str) -> str:
    """What the command prints.

    Raises:
        RuntimeError: It failed.
    """
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=sys.stderr)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed with status {process.returncode}")
    return output.decode()


def tools_are_missing() -> bool:
    """Whether something has to be installed first; tells by which command."""
    missing = []
    if not (shutil.which("ghz") or (Path.home() / "go" / "bin" / "ghz").exists()):
        missing.append("go install github.com/bojand/ghz/cmd/ghz@v0.93.0")
    if not shutil.which("wrk"):
        missing.append("apt-get install wrk")
    for command in missing:
        print(f"a load generator is missing: {command}", file=sys.stderr)
    return bool(missing)


def machine() -> str:
    """What the figures were measured on, in one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "a processor")
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {sys.version.split()[0]}"
