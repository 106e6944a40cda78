"""Callers who pay each other without pause and keep a log of what they were told."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from tests.e2e.conftest import transfer_fields
from tests.e2e.parts import Customer, Parts
from tests.e2e.wire import Answer, Wire

_OPEN = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "UNANSWERED"}
_RESOLVE_TIMEOUT_S = 5.0


@dataclass
class Payment:
    """One call: what was asked, when, and what came back."""

    customer: Customer
    fields: dict[str, Any]
    invoked: float
    answered: float = 0.0
    answer: Answer = field(default_factory=lambda: Answer("UNANSWERED"))


@dataclass
class Log:
    """All payments of a run, in the order they were begun."""

    payments: list[Payment] = field(default_factory=list)

    def codes(self) -> Counter[str]:
        return Counter(payment.answer.code for payment in self.payments)

    def reasons(self) -> Counter[str]:
        return Counter(payment.answer.reason for payment in self.payments)

    def done(self) -> list[Payment]:
        return [payment for payment in self.payments if payment.answer.code == "OK"]

    def open(self) -> list[Payment]:
        """Those whose outcome the caller was not told."""
        return [payment for payment in self.payments if payment.answer.code in _OPEN]


@asynccontextmanager
async def paying(
    parts: Parts, customers: Sequence[Customer], callers: int, amount_minor: int = 1, connections: int = 4
) -> AsyncIterator[Log]:
    """While the context is open `callers` pay at random; at its end the last calls are waited for."""
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(parts.channel()) for _ in range(connections)]
        async with paying_through(wires, customers, callers, amount_minor) as log:
            yield log


@asynccontextmanager
async def paying_through(
    wires: Sequence[Wire], customers: Sequence[Customer], callers: int, amount_minor: int = 1
) -> AsyncIterator[Log]:
    """The same by these clients, who are shared out among the callers."""
    log = Log()
    stop = asyncio.Event()
    choice = random.Random(7)

    async def pay(wire: Wire) -> None:
        while not stop.is_set():
            source, destination = choice.sample(customers, 2)
            fields = transfer_fields(source.account_id, destination.account_id, amount_minor)
            payment = Payment(source, fields, monotonic())
            log.payments.append(payment)
            payment.answer = await wire.call("CreateTransfer", fields, source.token)
            payment.answered = monotonic()
            if payment.answer.code == "UNAVAILABLE":
                await asyncio.sleep(0.05)

    running = [asyncio.create_task(pay(wires[number % len(wires)])) for number in range(callers)]
    try:
        yield log
    finally:
        stop.set()
        await asyncio.gather(*running)


async def resolve(parts: Parts, log: Log) -> int:
    """Repeat every call whose outcome is open with its request id until it is known; how many had been done before."""
    before = 0
    async with parts.channel() as wire:
        for payment in log.open():
            async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
                while (
                    answer := await wire.call("CreateTransfer", payment.fields, payment.customer.token)
                ).code in _OPEN:
                    await asyncio.sleep(0.05)
            assert answer.code == "OK" or answer.reason == "INSUFFICIENT_FUNDS", answer
            payment.answer, payment.answered = answer, monotonic()
            before += bool(answer.reply.get("replayed"))
    return before


async def assert_log_is_true(parts: Parts, log: Log) -> None:
    """Every transfer that was acknowledged is there once and as told; what was refused is not there."""
    async with parts.owner() as owner:
        rows = await owner.fetch(
            "SELECT transfers.request_id::text, transfers.id::text, transfers.amount_minor,"
            " entries.balance_after_minor, entries.sequence"
            " FROM transfers JOIN entries ON entries.transfer_id = transfers.id"
            " AND entries.account_id = transfers.source_account_id"
        )
    stored: dict[str, list[tuple[Any, ...]]] = {}
    for request_id, *facts in rows:
        stored.setdefault(request_id, []).append(tuple(facts))
    for payment in log.payments:
        found = stored.get(payment.fields["request_id"], [])
        if payment.answer.code != "OK":
            assert found == [], payment
            continue
        transfer = payment.answer.reply["transfer"]
        entry = next(
            each for each in payment.answer.reply["entries"] if each["account_id"] == payment.customer.account_id
        )
        told = (
            transfer["id"],
            int(transfer["amount_minor"]),
            int(entry["balance_after_minor"]),
            int(entry["sequence"]),
        )
        assert found == [told], payment


def assert_order_is_real(log: Log) -> None:
    """What was answered before another call began stands before it on the account they share."""
    events: list[tuple[float, int, Payment]] = []
    for payment in log.done():
        events += [(payment.invoked, 1, payment), (payment.answered, 0, payment)]
    highest: Counter[str] = Counter()
    floors: dict[int, dict[str, int]] = {}
    for _, begins, payment in sorted(events, key=lambda event: event[:2]):
        entries = {each["account_id"]: int(each["sequence"]) for each in payment.answer.reply["entries"]}
        if begins:
            floors[id(payment)] = {account_id: highest[account_id] for account_id in entries}
            continue
        for account_id, sequence in entries.items():
            assert sequence > floors[id(payment)][account_id]
            highest[account_id] = max(highest[account_id], sequence)
