"""Callers who guess passwords as often as they may, in a process of their own: `python -m tests.e2e.flooders PORT`.

They begin with the first line of standard input, stop with the next, and so on; each change is answered with a line,
and the end of the input with what they were told, as JSON: `{"outcomes": {"CODE REASON": count}, "refused_s": [...]}`.
"""

import asyncio
import json
import sys
from collections import Counter
from contextlib import suppress
from time import monotonic

import grpc

from tests.e2e.wire import Answer, GrpcWire

FLOODERS = 200


def retry_after_s(answer: Answer) -> float:
    return float(answer.detail("RetryInfo")["retry_delay"].removesuffix("s"))


async def guess(wire: GrpcWire, wave: int, number: int, outcomes: Counter[str], refused_s: list[float]) -> None:
    """Try one name from one address without end."""
    fields = {"username": f"flood{wave}x{number}", "password": "nine grey geese at dawn"}
    while True:
        begun = monotonic()
        address = [("x-forwarded-for", f"198.51.{100 + wave}.{number}")]
        answer = await wire.call("CreateSession", fields, headers=address)
        outcomes[f"{answer.code} {answer.reason}"] += 1
        if answer.code == "RESOURCE_EXHAUSTED":
            refused_s.append(monotonic() - begun)
            await asyncio.sleep(retry_after_s(answer))


async def main(port: int) -> None:
    """Flood in waves, as standard input says."""
    outcomes: Counter[str] = Counter()
    refused_s: list[float] = []
    wave = 0
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        wire = GrpcWire(channel)
        while await asyncio.to_thread(sys.stdin.readline):
            running = [
                asyncio.create_task(guess(wire, wave, number, outcomes, refused_s)) for number in range(FLOODERS)
            ]
            print("on", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            for task in running:
                task.cancel()
            for task in running:
                with suppress(asyncio.CancelledError):
                    await task
            wave += 1
            print("off", flush=True)
    print(json.dumps({"outcomes": outcomes, "refused_s": refused_s}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
