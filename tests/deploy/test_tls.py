"""The URLs that the manifests make reach servers that demand TLS, and only those whose name is proven.

The servers of the tests speak without TLS: something in front of them ends it, as they would themselves.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from migrate.runner import MIGRATIONS_DIR, MigrationError, migrate
from server.database import open_pool
from tests.conftest import Database
from tests.deploy.manifests import ENTRY, environment, secret_value
from tests.gateway.certificates import Authority
from worker.settings import open_redis

PROVEN, NOT_PROVEN = "127.0.0.1", "localhost"
"""Both lead to the same place; the certificate has the first."""
_SSL_REQUEST_BYTES = 8

Ready = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority()
    authority.issue(tmp_path / "tls", "server")
    (der,) = authority.trusted().get_ca_certs(binary_form=True)
    (tmp_path / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(der))
    return authority


@asynccontextmanager
async def tls_in_front_of(url: str, folder: Path, ready: Ready | None = None) -> AsyncIterator[int]:
    """A port that ends TLS and passes on; `ready` is what comes before TLS on a connection."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "tls" / "tls.crt", folder / "tls" / "tls.key")
    behind = urlsplit(url)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if ready is not None:
                await ready(reader, writer)
            await writer.start_tls(context)
            far_reader, far_writer = await asyncio.open_connection(behind.hostname, behind.port)
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
        writer.close()

    async with await asyncio.start_server(serve, PROVEN, 0) as server:
        yield server.sockets[0].getsockname()[1]


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _agree_to_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """PostgreSQL is asked for TLS in its own protocol first."""
    await reader.readexactly(_SSL_REQUEST_BYTES)
    writer.write(b"S")
    await writer.drain()


def url_of(secret: str, key: str, *, like: str, netloc: str, folder: Path) -> str:
    """A URL of the manifests, with the sample values replaced by the password and database of another one."""
    url = secret_value(environment("production"), secret, key)
    other = urlsplit(like)
    for sample, value in {
        f"{ENTRY['database_host']}:5432": netloc,
        f"{ENTRY['cache_host']}:6379": netloc,
        ENTRY["database_password"]: other.password or "",
        ENTRY["owner_password | urlquery"]: other.password or "",
        ENTRY["cache_password"]: other.password or "",
        "/bank?": f"{other.path}?",
        "/etc/database-ca": str(folder),
    }.items():
        url = url.replace(sample, value)
    return url


class TestDatabase:
    async def reach(self, database: Database, folder: Path, host: str) -> str:
        async with tls_in_front_of(database.app_url, folder, _agree_to_tls) as port:
            url = url_of("service", "database_url", like=database.app_url, netloc=f"{host}:{port}", folder=folder)
            pool = await open_pool(url, size=1)
            try:
                return str(await pool.fetchval("SELECT current_user"))
            finally:
                await pool.close()

    async def test_service_signs_in(self, database: Database, tmp_path: Path, authority: Authority) -> None:
        assert await self.reach(database, tmp_path, PROVEN) == "bank_app"

    async def test_name_that_is_not_proven_is_refused(
        self, database: Database, tmp_path: Path, authority: Authority
    ) -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            await self.reach(database, tmp_path, NOT_PROVEN)

    async def test_certificate_of_somebody_else_is_refused(
        self, database: Database, tmp_path: Path, authority: Authority
    ) -> None:
        (der,) = Authority().trusted().get_ca_certs(binary_form=True)
        (tmp_path / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(der))
        with pytest.raises(ssl.SSLCertVerificationError):
            await self.reach(database, tmp_path, PROVEN)

    async def test_server_without_tls_is_refused(
        self, database: Database, tmp_path: Path, authority: Authority
    ) -> None:
        at = urlsplit(database.app_url)
        netloc = f"{at.hostname}:{at.port}"
        url = url_of("service", "database_url", like=database.app_url, netloc=netloc, folder=tmp_path)
        pool = await open_pool(url, size=1)
        with pytest.raises((ConnectionError, asyncpg.PostgresConnectionError)):
            await pool.fetchval("SELECT 1")
        await pool.close()


class TestMigration:
    @pytest.mark.parametrize("host", [PROVEN, NOT_PROVEN])
    async def test_migrations_run_where_the_name_is_proven(
        self, database: Database, tmp_path: Path, authority: Authority, host: str
    ) -> None:
        async with tls_in_front_of(database.owner_url, tmp_path, _agree_to_tls) as port:
            netloc = f"{host}:{port}"
            url = url_of("migration", "migration_database_url", like=database.owner_url, netloc=netloc, folder=tmp_path)
            migrating = migrate("status", url, MIGRATIONS_DIR, print, connect_wait_s=1)
            if host == PROVEN:
                assert "Pending: 0" in await migrating
            else:
                with pytest.raises(MigrationError):
                    await migrating


class TestQueue:
    @pytest.mark.parametrize("host", [PROVEN, NOT_PROVEN])
    async def test_queue_is_reached_where_the_name_is_proven(
        self, redis_url: str, tmp_path: Path, authority: Authority, host: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # ElastiCache's certificates are among those every system trusts.
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with tls_in_front_of(redis_url, tmp_path) as port:
            url = url_of("service", "redis_url", like=redis_url, netloc=f"{host}:{port}", folder=tmp_path)
            redis = open_redis(url)
            try:
                if host == PROVEN:
                    assert await redis.ping()
                else:
                    with pytest.raises(RedisConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                        await redis.ping()
            finally:
                await redis.aclose(close_connection_pool=True)
