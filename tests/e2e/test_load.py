"""Many callers at once over few accounts and both server processes."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import pytest

from tests.clocks import Stalls
from tests.e2e.parts import Parts, running_parts
from tests.e2e.payments import assert_log_is_true, assert_order_is_real, paying

DURATION_S = float(os.environ.get("LOAD_DURATION_S", "6"))
CALLERS = 64
ACCOUNTS = 20
USERS = 8
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'bank'"


@pytest.fixture(scope="module")
async def parts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parts]:
    async with running_parts(tmp_path_factory.mktemp("load")) as parts:
        yield parts


class TestLoad:
    @pytest.mark.timeout(60 + 3 * DURATION_S)
    async def test_calls_are_gathered_and_every_reply_is_true(
        self, parts: Parts, record_property: Callable[[str, object], None]
    ) -> None:
        async with parts.channel() as wire:
            customers = await parts.customers(wire, ACCOUNTS, 10_000, users=USERS)
        before = [await parts.metric(f"ledger_batch_size_{part}") for part in ("sum", "count")]

        async with Stalls() as stalls, paying(parts, customers, CALLERS) as log:
            await asyncio.sleep(DURATION_S)

        after = [await parts.metric(f"ledger_batch_size_{part}") for part in ("sum", "count")]
        average = (after[0] - before[0]) / (after[1] - before[1])
        figures = f"{len(log.done()) / DURATION_S:.0f} transfers/s, {average:.1f} a batch, {dict(log.codes())}"
        record_property("figures", figures)
        print(figures)
        assert log.codes().keys() <= {"OK", "FAILED_PRECONDITION"}
        assert log.reasons().keys() <= {"", "INSUFFICIENT_FUNDS"}
        assert len(log.done()) > 50 * (DURATION_S - stalls.total_s)
        assert average > 5
        assert await parts.metric("ledger_defects_total") == 0
        async with parts.owner() as owner:
            assert await owner.fetchval(DEADLOCKS) == 0
        await assert_log_is_true(parts, log)
        assert_order_is_real(log)
        await parts.assert_ledger_adds_up()

    async def test_changing_the_standing_of_a_payer_holds_up_nobody(self, parts: Parts) -> None:
        """Its locks reach the accounts from the user, those of a payment the user from the accounts."""
        async with parts.channel() as wire:
            customers = await parts.customers(wire, 6, 10_000)
            admin = await parts.sign_in("ADMIN")
            defects = await parts.metric("ledger_defects_total")
            user_id = str(customers[0].user_id)
            async with Stalls() as stalls, paying(parts, customers, 24) as log:
                for number in range(60):
                    roles = ["ROLE_MERCHANT"] if number % 2 else []
                    answer = await wire.call("SetUserRoles", {"user_id": user_id, "roles": roles}, admin.token)
                    assert answer.code == "OK", answer
                    await asyncio.sleep(0.02)
        assert log.codes().keys() == {"OK"}
        slowest = max(payment.answered - payment.invoked for payment in log.payments)
        assert slowest < 1 + stalls.total_s
        assert await parts.metric("ledger_defects_total") == defects
        async with parts.owner() as owner:
            assert await owner.fetchval(DEADLOCKS) == 0
        await assert_log_is_true(parts, log)
        await parts.assert_ledger_adds_up()
