"""What callers see, and what is true afterwards, when a part dies, freezes or is cut off at the worst moment."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import monotonic

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.conftest import transfer_fields
from tests.e2e.parts import Customer, DatabaseProxy, Parts, running_parts, until_ready
from tests.e2e.payments import Log, Payment, assert_log_is_true, assert_order_is_real, paying, resolve
from tests.e2e.wire import Answer, JsonWire
from tests.envoy.gateway import wait_for_status

OPEN_REASONS = {"DATABASE_UNAVAILABLE", "COMMIT_UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"}


@pytest.fixture(scope="module")
def proxy() -> DatabaseProxy:
    return DatabaseProxy()


@pytest.fixture(scope="module")
async def parts(tmp_path_factory: pytest.TempPathFactory, proxy: DatabaseProxy) -> AsyncIterator[Parts]:
    async with running_parts(tmp_path_factory.mktemp("faults"), proxy) as parts:
        yield parts


@pytest.fixture(scope="module")
async def customers(parts: Parts) -> list[Customer]:
    async with parts.channel() as wire:
        return await parts.customers(wire, 8, 100_000)


async def pay_once(parts: Parts, customers: list[Customer], **others: object) -> Answer:
    async with parts.channel() as wire:
        fields = transfer_fields(customers[0].account_id, customers[1].account_id, **others)
        return await wire.call("CreateTransfer", fields, customers[0].token)


async def until_served(parts: Parts, customers: list[Customer], within_s: float) -> float:
    """Call until a payment succeeds; seconds it took."""
    started = monotonic()
    async with asyncio.timeout(within_s):
        while (await pay_once(parts, customers)).code != "OK":
            await asyncio.sleep(0.02)
    return monotonic() - started


async def assert_nothing_lost(parts: Parts, log: Log) -> None:
    print(log.codes(), log.reasons())
    print("done after all:", await resolve(parts, log))
    await assert_log_is_true(parts, log)
    assert_order_is_real(log)
    await parts.assert_ledger_adds_up()


async def assert_no_lock_or_connection_leaked(parts: Parts) -> None:
    """Nothing of the service holds a transaction open, and no process has more connections than its pools."""
    async with parts.owner() as owner:
        async with asyncio.timeout(5):
            while await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'bank_app' AND state LIKE 'idle in transaction%'"
            ):
                await asyncio.sleep(0.05)
        connections = await owner.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = 'bank_app'")
    assert connections <= 2 * (8 + 5 + 3)


def assert_only_outages(log: Log) -> None:
    assert log.codes().keys() <= {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED"}, log.codes()
    reasons = {payment.answer.reason for payment in log.open()}
    # A native gRPC client is told by the gateway itself, without details, that no server is to be had.
    assert reasons - {""} <= OPEN_REASONS


class TestPostgres:
    @pytest.mark.timeout(180)
    @pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.long)])
    async def test_killed_under_load_loses_no_acknowledged_transfer(
        self, parts: Parts, customers: list[Customer], kills: int
    ) -> None:
        async with paying(parts, customers, 16) as log:
            for _ in range(kills):
                await asyncio.sleep(1)
                await parts.kill_postgres()
                await asyncio.sleep(0.7)
                await parts.start_postgres()
                assert await until_served(parts, customers, 3) < 3
            await asyncio.sleep(0.5)
        assert_only_outages(log)
        assert log.codes()["UNAVAILABLE"] > 0
        assert len(log.done()) > 100 * kills
        await assert_nothing_lost(parts, log)
        await assert_no_lock_or_connection_leaked(parts)

    async def test_killed_backend_is_a_short_outage(self, parts: Parts, customers: list[Customer]) -> None:
        """The server resets every connection when one of its processes dies without a word."""
        async with paying(parts, customers, 16) as log:
            await asyncio.sleep(0.5)
            async with parts.owner() as owner:
                pid = await owner.fetchval("SELECT max(pid) FROM pg_stat_activity WHERE usename = 'bank_app'")
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.3)
            assert await until_served(parts, customers, 3) < 2
        assert_only_outages(log)
        await assert_nothing_lost(parts, log)

    async def test_terminated_backends_are_replaced_at_once(self, parts: Parts, customers: list[Customer]) -> None:
        async with paying(parts, customers, 16) as log:
            async with parts.owner() as owner:
                for _ in range(5):
                    await asyncio.sleep(0.2)
                    await owner.fetchval(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'bank_app'"
                    )
            assert await until_served(parts, customers, 3) < 1
        assert_only_outages(log)
        await assert_nothing_lost(parts, log)

    @pytest.mark.timeout(90)
    @pytest.mark.parametrize("seconds", [4, pytest.param(8, marks=pytest.mark.long)])
    async def test_frozen_is_an_outage_that_ends_with_it(
        self, parts: Parts, customers: list[Customer], seconds: int
    ) -> None:
        async with paying(parts, customers, 16) as log, parts.channel(timeout_s=1) as impatient:
            await asyncio.sleep(0.5)
            parts.signal_postgres(signal.SIGSTOP)
            try:
                frozen = monotonic()
                fields = transfer_fields(customers[0].account_id, customers[1].account_id)
                given_up = await impatient.call("CreateTransfer", fields, customers[0].token)
                waited_s = monotonic() - frozen
                await wait_for_status(parts.gateway, "/readyz", 503, within_s=4 - waited_s)
                await asyncio.sleep(seconds - (monotonic() - frozen))
            finally:
                parts.signal_postgres(signal.SIGCONT)
            assert await until_served(parts, customers, 6) < 2
            await asyncio.sleep(0.5)
        assert given_up.code == "DEADLINE_EXCEEDED"
        assert waited_s < 1.5
        log.payments.append(Payment(customers[0], fields, frozen, frozen + waited_s, given_up))
        assert_only_outages(log)
        await assert_nothing_lost(parts, log)
        await assert_no_lock_or_connection_leaked(parts)

    async def test_too_many_connections_are_an_outage(self, parts: Parts, customers: list[Customer]) -> None:
        async with parts.owner() as owner:
            await owner.execute("ALTER ROLE bank_app CONNECTION LIMIT 0")
            await owner.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'bank_app'"
            )
            try:
                answers = [await pay_once(parts, customers) for _ in range(3)]
            finally:
                await owner.execute("ALTER ROLE bank_app CONNECTION LIMIT 100")
        assert {answer.code for answer in answers} == {"UNAVAILABLE"}
        assert await until_served(parts, customers, 5) < 3


class TestCommit:
    @pytest.mark.parametrize("how", ["cut after", "cut before", "late"])
    async def test_cut_while_it_commits_is_told_truly(
        self, parts: Parts, customers: list[Customer], proxy: DatabaseProxy, how: str
    ) -> None:
        cuts = proxy.cuts
        proxy.late_s = 1.0
        async with parts.channel() as wire:
            fields = transfer_fields(customers[0].account_id, customers[1].account_id, 3)
            proxy.on_commit = how
            answer = await wire.call("CreateTransfer", fields, customers[0].token)
            assert proxy.cuts == cuts + 1
            assert answer.code == "OK", answer
            again = await wire.call("CreateTransfer", fields, customers[0].token)
        assert again.reply == {**answer.reply, "replayed": True}
        await self.assert_made_once(parts, fields["request_id"])

    @pytest.mark.parametrize(
        ("how", "late_s"), [("cut after", 0), ("cut before", 0), ("late", 4)], ids=lambda value: str(value)
    )
    async def test_database_gone_while_it_commits_is_unknown_and_a_repeat_finds_out(
        self, parts: Parts, customers: list[Customer], proxy: DatabaseProxy, how: str, late_s: float
    ) -> None:
        proxy.late_s = late_s
        proxy.then_refuse = how != "late"
        try:
            async with parts.channel() as wire:
                fields = transfer_fields(customers[0].account_id, customers[1].account_id, 3)
                proxy.on_commit = how
                answer = await wire.call("CreateTransfer", fields, customers[0].token)
                assert (answer.code, answer.reason) == ("UNAVAILABLE", "COMMIT_UNKNOWN")
                assert answer.detail("RetryInfo")
                proxy.refusing = proxy.then_refuse = False
                await asyncio.sleep(late_s and 1.5)
                await until_ready(parts)
                again = await wire.call("CreateTransfer", fields, customers[0].token)
        finally:
            proxy.refusing = proxy.then_refuse = False
        assert again.code == "OK"
        assert again.reply["replayed"] is (how != "cut before")
        await self.assert_made_once(parts, fields["request_id"])

    async def test_cut_under_load_is_told_truly_to_every_caller_of_the_batch(
        self, parts: Parts, customers: list[Customer], proxy: DatabaseProxy
    ) -> None:
        cuts = proxy.cuts
        proxy.late_s = 0.5
        async with paying(parts, customers, 32) as log:
            for how in ("cut after", "cut before", "late") * 2:
                proxy.on_commit = how
                async with asyncio.timeout(10):
                    while proxy.on_commit:
                        await asyncio.sleep(0.01)
                await asyncio.sleep(0.4)
        assert proxy.cuts == cuts + 6
        assert log.codes().keys() <= {"OK", "UNAVAILABLE"}
        assert log.reasons().keys() <= {"", "COMMIT_UNKNOWN"}
        await assert_nothing_lost(parts, log)

    async def assert_made_once(self, parts: Parts, request_id: str) -> None:
        async with parts.owner() as owner:
            made = await owner.fetchval("SELECT count(*) FROM transfers WHERE request_id = $1", request_id)
        assert made == 1
        await parts.assert_ledger_adds_up()


class TestLockedAccount:
    async def test_it_alone_is_contended(self, parts: Parts, customers: list[Customer]) -> None:
        locked, free = customers[0], customers[2:4]
        async with parts.channel() as wire, parts.owner() as owner:
            fields = transfer_fields(locked.account_id, free[0].account_id)
            async with owner.transaction():
                await owner.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", locked.account_id)
                started = monotonic()
                calls = [
                    asyncio.create_task(each.call("CreateTransfer", fields, locked.token))
                    for each in (wire, JsonWire(parts.gateway))
                ]
                async with paying(parts, free, 8) as log:
                    await asyncio.sleep(1.5)
                answers = await asyncio.gather(*calls)
                waited_s = monotonic() - started
            again = await wire.call("CreateTransfer", fields, locked.token)
        assert answers[0] == answers[1]
        assert (answers[0].code, answers[0].reason) == ("ABORTED", "CONTENTION")
        assert answers[0].detail("RetryInfo")
        assert 1.9 < waited_s < 3.5
        assert log.codes().keys() == {"OK"}
        slowest = max(payment.answered - payment.invoked for payment in log.payments)
        assert slowest < 1
        assert (again.code, again.reply["replayed"]) == ("OK", False)


class TestCaller:
    async def test_who_gives_up_leaves_all_or_nothing(self, parts: Parts, customers: list[Customer]) -> None:
        log = Log()
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(parts.channel(each / 1000)) for each in (3, 6, 12, 25, 50)]

            async def pay(number: int) -> None:
                source, destination = customers[number % 8], customers[(number + 3) % 8]
                fields = transfer_fields(source.account_id, destination.account_id)
                payment = Payment(source, fields, monotonic())
                log.payments.append(payment)
                payment.answer = await wires[number % len(wires)].call("CreateTransfer", fields, source.token)
                payment.answered = monotonic()

            for _ in range(5):
                await asyncio.gather(*(pay(number) for number in range(60)))
        assert log.codes().keys() <= {"OK", "DEADLINE_EXCEEDED"}
        assert log.codes()["DEADLINE_EXCEEDED"] > 50
        assert await until_served(parts, customers, 2) < 0.5
        await assert_nothing_lost(parts, log)
        await assert_no_lock_or_connection_leaked(parts)


class TestServer:
    async def test_database_away_at_start_is_waited_for(self, parts: Parts, customers: list[Customer]) -> None:
        log_file = parts.servers[0].log
        parts.servers[0].signal(signal.SIGKILL)
        await parts.servers[0].process.wait()
        await parts.kill_postgres()
        written = log_file.stat().st_size
        child = await parts.start_server(0, ready=False)
        try:
            async with asyncio.timeout(5):
                while "waiting for the database" not in log_file.read_text()[written:]:
                    await asyncio.sleep(0.1)
            assert await health(parts, 0) == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await health(parts, 0, "liveness") == health_pb2.HealthCheckResponse.SERVING
            await wait_for_status(parts.gateway, "/readyz", 503, within_s=5)
            answer = await JsonWire(parts.gateway).call("ListCurrencies", {})
            assert (answer.code, answer.reason) == ("UNAVAILABLE", "UNAVAILABLE")
            assert child.process.returncode is None
            assert parts.secrets.bank_app not in log_file.read_text()
        finally:
            await parts.start_postgres()
        await asyncio.wait_for(child.wait_ready(), 3)
        assert await until_served(parts, customers, 5) < 3

    @pytest.mark.timeout(90)
    async def test_rolling_restart_fails_no_call(self, parts: Parts, customers: list[Customer]) -> None:
        async with paying(parts, customers, 16) as log:
            for process in (0, 1):
                await asyncio.sleep(0.5)
                server = parts.servers[process]
                server.signal(signal.SIGTERM)
                assert await asyncio.wait_for(server.process.wait(), 15) == 0
                await parts.start_server(process)
        assert log.codes().keys() == {"OK"}
        assert len(log.done()) > 200
        await assert_nothing_lost(parts, log)

    @pytest.mark.timeout(90)
    async def test_killed_process_costs_no_more_than_its_calls(self, parts: Parts, customers: list[Customer]) -> None:
        kills = []
        async with paying(parts, customers, 16) as log:
            for process in (0, 1):
                await asyncio.sleep(0.5)
                kills.append(monotonic())
                parts.servers[process].signal(signal.SIGKILL)
                await parts.servers[process].process.wait()
                assert await until_served(parts, customers, 3) < 1
                await parts.start_server(process)
                await asyncio.sleep(1)
        assert_only_outages(log)
        # Two looks of the gateway at most.
        late = [each.invoked - max(kill for kill in kills if kill < each.answered) for each in log.open()]
        assert max(late, default=0) < 1.2
        await assert_nothing_lost(parts, log)
        await assert_no_lock_or_connection_leaked(parts)


async def health(parts: Parts, process: int, service: str = "") -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{parts.server_ports[process]}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int((await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)).status)
