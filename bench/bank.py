"""The service under load: the whole stack in a folder of its own, with accounts to move money between."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid4, uuid7

from bench.cpu import find_below
from local.ports import free_ports
from local.postgres import OWNER_ROLE, SUPERUSER, database_url
from local.probes import answers_http
from local.secrets import load_secrets
from server.config import Settings
from server.database import Database, open_pool
from server.keys import load
from server.ledger.movements import Kind, Movement, fingerprint_of
from server.ledger.verification import VERIFY_TIMEOUT_S, verify
from server.ledger.writing import post
from server.reference_data import ReferenceData
from server.tokens import AccessTokens

ACCOUNTS = 10_000
OWNERS = 16
PRODUCTS = 1_000
PIECES = 10**9
BALANCE_MINOR = 1_000_000_000
_DEPOSITS_PER_BATCH = 500
_START_TIMEOUT_S = 60

Connection = asyncpg.Connection


@dataclass(frozen=True)
class Owner:
    """Somebody who transfers, sells and orders, with a token that outlives the run."""

    user_id: UUID
    token: str
    account_ids: list[UUID]
    product_ids: list[UUID]


@dataclass(frozen=True)
class Bank:
    """A running stack.

    Attributes:
        server_ports: Of the server processes, gRPC.
        postmaster, server: Process ids; the server's children serve.
    """

    owner_url: str
    superuser_url: str
    application_url: str
    server_ports: list[int]
    gateway_port: int
    postmaster: int
    server: int
    owners: list[Owner]
    environment: dict[str, str]

    async def adds_up(self) -> bool:
        """Whether every rule of the ledger holds."""
        database = Database(await open_pool(self.application_url, size=1, statement_timeout_s=VERIFY_TIMEOUT_S))
        verdict = await verify(database)
        await database.close()
        return not verdict.differences

    async def transfer_count(self) -> int:
        """Transfers posted so far."""
        connection = await asyncpg.connect(self.owner_url)
        count: int = await connection.fetchval("SELECT count(*) FROM transfers")
        await connection.close()
        return count


@asynccontextmanager
async def running_bank(folder: Path, processes: int) -> AsyncIterator[Bank]:
    """Start the stack as `make run` does, on free ports, and fill it; stop it at the end."""
    names = ["POSTGRES_PORT", "REDIS_PORT", "SMTP_PORT", "GATEWAY_PORT", "GATEWAY_GRPC_PORT"]
    first = free_ports(len(names) + processes)
    ports = {name: first + offset for offset, name in enumerate(names)}
    server_port = first + len(names)
    environment = {
        **os.environ,
        **{name: str(port) for name, port in ports.items()},
        "SERVER_PORT": str(server_port),
        "SERVER_PROCESSES": str(processes),
        "METRICS_PORT": "0",
        # The worker would ship what one row ordered while the next rows are measured.
        "ORDER_DELIVERY_DELAY_S": "0",
        "BANK_STATE_DIR": str(folder),
        "LOG_LEVEL": "info",
    }
    launcher = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "local", "run", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while not await answers_http(ports["GATEWAY_PORT"], "/readyz"):  # noqa: ASYNC110 - asks over HTTP
                await asyncio.sleep(0.2)
        secrets = load_secrets(folder)
        assert secrets is not None
        postgres_port = ports["POSTGRES_PORT"]
        application_url = database_url("bank_app", secrets.bank_app, postgres_port)
        owner_url = database_url(OWNER_ROLE, secrets.bank_owner, postgres_port)
        yield Bank(
            owner_url=owner_url,
            superuser_url=database_url(SUPERUSER, secrets.postgres, postgres_port),
            application_url=application_url,
            server_ports=[server_port + process for process in range(processes)],
            gateway_port=ports["GATEWAY_PORT"],
            postmaster=find_below(launcher.pid, "-D", str(folder / "postgres")),
            server=find_below(launcher.pid, "-m", "server"),
            environment=environment,
            owners=await _fill(owner_url, application_url, folder / "token_keys.json"),
        )
    finally:
        launcher.send_signal(signal.SIGINT)
        await launcher.wait()


async def _fill(owner_url: str, application_url: str, keys_file: Path) -> list[Owner]:
    """Users with sessions by SQL; their money by deposits, so that the invariants hold."""
    settings = Settings(
        BANK_ENVIRONMENT="test",
        database_url=application_url,
        redis_url="redis://unused",
        token_keys_file=keys_file,
    )
    tokens = AccessTokens(load(settings), "paseto", 3600)
    connection = await asyncpg.connect(owner_url)
    users = [(uuid7(), uuid7()) for _ in range(OWNERS)]
    await connection.executemany(
        "INSERT INTO users (id, username, password_hash, full_name, email, email_verified, roles)"
        " VALUES ($1, $2, '', 'Bench', $2 || '@example.org', true, '{DEPOSITOR,MERCHANT,BANKER}')",
        [(user_id, f"bench{number}") for number, (user_id, _) in enumerate(users)],
    )
    await connection.executemany(
        "INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)"
        " VALUES ($2, $1, 'bench', '', now() + '1 day', now() + '1 day')",
        users,
    )
    accounts = [(uuid7(), users[number % OWNERS][0]) for number in range(ACCOUNTS)]
    await connection.executemany(
        "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", accounts
    )
    products = [(uuid7(), *accounts[number]) for number in range(PRODUCTS)]
    await _offer(connection, products)
    database = Database(await open_pool(application_url, size=1))
    reference = ReferenceData()
    await reference.load(database)
    for start in range(0, ACCOUNTS, _DEPOSITS_PER_BATCH):
        deposits = [
            _deposit(users[(start + number + 1) % OWNERS], reference.cash_account("USD"), account_id)
            for number, (account_id, _) in enumerate(accounts[start : start + _DEPOSITS_PER_BATCH])
        ]
        await database.transaction(lambda lent, batch=deposits: post(lent, batch))  # type: ignore[misc]  # default
    await database.close()
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    now = datetime.now(UTC)
    return [
        Owner(
            user_id,
            tokens.issue(user_id, session_id, now)[0],
            [account_id for account_id, owner_user_id in accounts if owner_user_id == user_id],
            [product_id for product_id, _, merchant_user_id in products if merchant_user_id == user_id],
        )
        for user_id, session_id in users
    ]


async def _offer(connection: Connection, products: list[tuple[UUID, UUID, UUID]]) -> None:
    """Products with more pieces than a run can sell, each paid to an account of its own."""
    await connection.executemany(
        "INSERT INTO products (id, settlement_account_id, merchant_user_id, name, description, search_words,"
        " price_minor, currency_code, on_hand, movement_count)"
        " VALUES ($1, $2, $3, 'Kite', '', 'kite', 1, 'USD', $4, 1)",
        [(*product, PIECES) for product in products],
    )
    await connection.executemany(
        "INSERT INTO inventory_movements (product_id, sequence, kind, on_hand_change, reserved_change, on_hand_after,"
        " reserved_after, reason) VALUES ($1, 1, 'ADJUSTED', $2, 0, $2, 0, 'initial quantity')",
        [(product_id, PIECES) for product_id, _, _ in products],
    )


def _deposit(banker: tuple[UUID, UUID], cash_id: UUID, account_id: UUID) -> Movement:
    return Movement(
        kind=Kind.DEPOSIT,
        user_id=banker[0],
        session_id=banker[1],
        request_id=uuid4(),
        rpc="bench",
        fingerprint=fingerprint_of(account_id),
        source_id=cash_id,
        destination_id=account_id,
        amount_minor=BALANCE_MINOR,
        currency_code="USD",
    )
