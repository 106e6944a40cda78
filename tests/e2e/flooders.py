"""Callers who guess passwords as often as they may, in a process of their own: `python -m tests.e2e.flooders PORT`.

With `heedless` after the port they come back after a second or two, whatever they are told.

They begin with the first line of standard input, pause with the next, and so on; each change is answered with a line,
and the end of the input with what they were told, as JSON: `{"outcomes": {"CODE REASON": count}, "refused_s": [...]}`.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from time import monotonic

import grpc

from tests.e2e.wire import Answer, GrpcWire

FLOODERS = 200


def retry_after_s(answer: Answer) -> float:
    return float(answer.detail("RetryInfo")["retry_delay"].removesuffix("s"))


class Flood:
    """Two hundred callers, each with an address and a name.

    Args:
        wire: To the gateway.
        heeding: Whether they come back when they are told to.
    """

    def __init__(self, wire: GrpcWire, *, heeding: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self.refused_s: list[float] = []
        self.on = asyncio.Event()
        self._wire = wire
        self._heeding = heeding
        self._under_way = 0

    async def pause(self) -> None:
        """Let nobody call any more, and wait for those who do."""
        self.on.clear()
        while self._under_way:
            await asyncio.sleep(0.01)

    async def guess(self, number: int) -> None:
        """Try one name from one address without end."""
        fields = {"username": f"flood{number}", "password": "nine grey geese at dawn"}
        address = [("x-forwarded-for", f"198.51.100.{number}")]
        while True:
            await self.on.wait()
            begun = monotonic()
            self._under_way += 1
            answer = await self._wire.call("CreateSession", fields, headers=address)
            self._under_way -= 1
            self.outcomes[f"{answer.code} {answer.reason}"] += 1
            if answer.code == "RESOURCE_EXHAUSTED":
                self.refused_s.append(monotonic() - begun)
                await asyncio.sleep(retry_after_s(answer) if self._heeding else random.uniform(1, 2))


async def main(port: int, *, heeding: bool) -> None:
    """Flood in turns, as standard input says."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        flood = Flood(GrpcWire(channel), heeding=heeding)
        running = [asyncio.create_task(flood.guess(number)) for number in range(FLOODERS)]
        while await asyncio.to_thread(sys.stdin.readline):
            flood.on.set()
            print("on", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            await flood.pause()
            print("off", flush=True)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    print(json.dumps({"outcomes": flood.outcomes, "refused_s": flood.refused_s}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), heeding="heedless" not in sys.argv[2:]))
