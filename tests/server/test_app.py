"""The whole process short of its signals: health, reflection, limits, a lost database, a graceful stop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from bank.v1 import ledger_service_pb2, transfer_service_pb2
from bank.v1.ledger_service_pb2_grpc import LedgerServiceStub
from bank.v1.session_service_pb2 import CreateSessionRequest
from bank.v1.session_service_pb2_grpc import SessionServiceStub
from bank.v1.transfer_service_pb2_grpc import TransferServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from local.ports import free_ports
from server.access import BATCH_BYTES_MAX
from server.app import LIVENESS, SERVICES, serve
from server.config import Settings
from server.interceptor import streams_requests
from server.keys import Keys
from server.tokens import AccessTokens
from tests.conftest import Database as MigratedDatabase
from tests.conftest import PostgresServer
from tests.server.bank import Bank
from tests.server.bank_server import refusal_of
from tests.server.identity import bearer, new_keys

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class Running:
    """A server in this process, and a channel to it."""

    channel: grpc.aio.Channel
    keys: Keys
    stop: asyncio.Event
    served: "asyncio.Task[None]"

    async def health(self, service: str = "") -> int:
        answer = await health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)

    async def is_ready(self) -> bool:
        return await self.health() == SERVING

    async def is_not_ready(self) -> bool:
        return await self.health() == NOT_SERVING


async def until(condition: Callable[[], Any], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(database_url: str, environment: str = "test", **limits: int) -> AsyncIterator[Running]:
    settings = Settings(
        BANK_ENVIRONMENT=environment,
        database_url=database_url,
        redis_url="redis://:unused@127.0.0.1/0",
        token_keys_file=Path("unread"),
        public_url="https://bank.example",
        server_port=free_ports(1),
        metrics_port=0,
        **{"calls_per_second": 0, **limits},
    )
    keys, stop = new_keys(), asyncio.Event()
    served = asyncio.create_task(serve(settings, keys, 0, stop))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.server_port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), 5)
        yield Running(channel, keys, stop, served)
    stop.set()
    await served


@pytest.fixture(scope="module")
async def server(postgres: PostgresServer, clone_database: Any) -> AsyncIterator[Running]:
    """One for all tests that leave it as it is."""
    async with clone_database() as database, running(database.app_url) as started:
        await until(started.is_ready, 5)
        yield started


class TestHealth:
    @pytest.mark.parametrize("service", ["", LIVENESS, *(service.full_name for service in SERVICES)])
    async def test_ready_server_is_serving(self, server: Running, service: str) -> None:
        assert await server.health(service) == SERVING

    async def test_unknown_service_is_not_found_and_no_defect(self, server: Running) -> None:
        with capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError) as refused:
            await server.health("bank.v1.NonsenseService")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        told = [(line["event"], line.get("code")) for line in lines if line["event"] in ("call", "defect")]
        assert told == [("call", "NOT_FOUND")]

    async def test_good_checks_are_not_logged(self, server: Running) -> None:
        with capture_logs() as lines:
            await server.health()
        # On a busy machine the server may say at the same time that it waits for the database.
        assert not [line for line in lines if line["event"] in ("call", "defect")]

    async def test_watcher_is_told_of_the_status(self, server: Running) -> None:
        watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        watch.cancel()

    async def test_no_quota_applies_to_checks(self, database: MigratedDatabase) -> None:
        address = (("x-envoy-external-address", "203.0.113.7"),)
        async with running(database.app_url, calls_per_second=1) as started:
            stub = health_pb2_grpc.HealthStub(started.channel)
            for _ in range(20):
                await stub.Check(health_pb2.HealthCheckRequest(), metadata=address)
                watch = stub.Watch(health_pb2.HealthCheckRequest(), metadata=address)
                await watch.read()
                watch.cancel()
            currencies = LedgerServiceStub(started.channel).ListCurrencies
            request = ledger_service_pb2.ListCurrenciesRequest()
            for _ in range(2):
                await currencies(request, metadata=address)
            refused = await refusal_of(currencies(request, metadata=address))
            assert refused.why == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")


class TestSignInShare:
    async def test_one_address_has_half_of_the_passwords_a_second(self, database: MigratedDatabase) -> None:
        async with running(database.app_url, sign_ins_per_second=2) as started:
            await until(started.is_ready, 5)

            async def sign_in(address: str) -> str:
                request = CreateSessionRequest(username="nobody", password="seven blue herons at dusk")
                call = SessionServiceStub(started.channel).CreateSession
                return (await refusal_of(call(request, metadata=(("x-envoy-external-address", address),)))).why[1]

            outcomes = [
                await asyncio.gather(*(sign_in(address) for _ in range(3))) for address in ("192.0.2.1", "192.0.2.2")
            ]
        assert [sorted(outcome) for outcome in outcomes] == [["BAD_CREDENTIALS"] * 2 + ["LOGIN_THROTTLED"]] * 2


class TestReflection:
    async def services(self, started: Running) -> set[str]:
        stub = reflection_pb2_grpc.ServerReflectionStub(started.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in stub.ServerReflectionInfo(iter([request])):
            return {service.name for service in answer.list_services_response.service}
        return set()

    async def test_every_service_is_shown_where_people_develop(self, server: Running) -> None:
        assert await self.services(server) >= {service.full_name for service in SERVICES}

    async def test_nothing_is_shown_in_production(self, database: MigratedDatabase) -> None:
        async with running(database.app_url, "production") as started:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await self.services(started)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


class TestLimits:
    async def test_message_beyond_the_limit_is_refused(self, server: Running) -> None:
        stub = LedgerServiceStub(server.channel)
        await stub.ListCurrencies(ledger_service_pb2.ListCurrenciesRequest())
        call = server.channel.unary_unary("/bank.v1.LedgerService/ListCurrencies")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"\x0a" + b"x" * BATCH_BYTES_MAX)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    async def test_unknown_fields_are_passed_over(self, server: Running) -> None:
        call = server.channel.unary_unary("/bank.v1.LedgerService/ListCurrencies")
        assert await call(b"\xfa\x3f\x03abc")


class TestDatabase:
    async def test_server_starts_without_it_and_says_what_it_waits_for(self) -> None:
        with capture_logs() as lines:
            async with running(f"postgresql://bank_app@127.0.0.1:{free_ports(1)}/bank") as started:
                assert await started.health(LIVENESS) == SERVING
                assert await started.health() == NOT_SERVING
                currencies = LedgerServiceStub(started.channel).ListCurrencies(
                    ledger_service_pb2.ListCurrenciesRequest()
                )
                assert (await refusal_of(currencies)).why == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")

                async def said() -> bool:
                    return any(line["event"] == "waiting for the database" for line in lines)

                await until(said, 10)

    async def test_loss_is_noticed_and_its_return_too(
        self, database: MigratedDatabase, postgres: PostgresServer
    ) -> None:
        name = database.app_url.rpartition("/")[2]
        superuser = await asyncpg.connect(postgres.superuser_url)
        with capture_logs() as lines:
            async with running(database.app_url) as started:
                await until(started.is_ready, 5)
                await superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                await superuser.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
                )
                await until(started.is_not_ready, 10)
                assert await started.health(LIVENESS) == SERVING
                await superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
                await until(started.is_ready, 10)
        await superuser.close()
        events = [line["event"] for line in lines if line["event"] in ("ready", "waiting for the database")]
        assert events == ["ready", "waiting for the database", "ready"]


class TestStop:
    async def test_call_in_flight_is_finished_and_health_says_so_first(self, bank: Bank) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(alice)
        request = transfer_service_pb2.CreateTransferRequest(
            request_id=str(uuid4()),
            source_account_id=str(source),
            destination_account_id=str(destination),
            amount_minor=1,
            currency_code="USD",
        )
        with capture_logs() as lines:
            async with running(bank.url) as started:
                await until(started.is_ready, 5)
                token, _ = AccessTokens(started.keys, "paseto", 900).issue(
                    alice.user_id, alice.session_id, datetime.now(UTC)
                )
                async with bank.pool.acquire() as connection, connection.transaction():
                    await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", source)
                    call = TransferServiceStub(started.channel).CreateTransfer(request, metadata=bearer(token))
                    await bank.waits_for_locks(1)
                    started.stop.set()
                    await until(started.is_not_ready, 5)
                    assert not call.done()
                assert (await call).transfer.amount_minor == 1
                async with asyncio.timeout(10):
                    await started.served
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await started.health()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await bank.posted_minor(source) == 99
        events = [line["event"] for line in lines]
        assert events.index("stopping") < events.index("call") < events.index("stopped")


class TestStreamsRequests:
    def test_method_whose_requests_are_a_stream_is_named(self) -> None:
        streaming = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
        expected = ["grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo"]
        assert streams_requests([streaming, *SERVICES]) == expected

    def test_none_of_ours_does(self) -> None:
        assert streams_requests(SERVICES) == []
