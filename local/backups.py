"""Backups of the embedded PostgreSQL, by its own programs: of the whole cluster, and of one database."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from local.postgres import binary, unprivileged
from local.process import run_command


async def base_backup(superuser_url: str, data: Path, environment: Mapping[str, str]) -> None:
    """Copy a running cluster, with the log it needs to be whole, into the new folder `data`.

    Raises:
        StackError: The server refuses, or the disk is full.
    """
    data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    command = [*unprivileged(data), str(binary("pg_basebackup")), "--pgdata", str(data)]
    command += ["--wal-method=stream", "--checkpoint=fast", *_server(superuser_url)]
    await run_command(command, _with_password(superuser_url, environment))


async def dump(url: str, file: Path, environment: Mapping[str, str]) -> None:
    """Write one database, as its owner sees it, to `file`: independent of the version of PostgreSQL.

    Raises:
        StackError: The server refuses, or the disk is full.
    """
    command = [str(binary("pg_dump")), "--format=custom", "--file", str(file), *_server(url)]
    await run_command([*command, "--dbname", urlsplit(url).path[1:]], _with_password(url, environment))


async def load(url: str, file: Path, environment: Mapping[str, str]) -> None:
    """Fill the empty database at `url` from a dump, all of it or nothing.

    Raises:
        StackError: The server refuses, or the dump is damaged.
    """
    command = [str(binary("pg_restore")), "--single-transaction", "--exit-on-error", "--no-comments", *_server(url)]
    await run_command([*command, "--dbname", urlsplit(url).path[1:], str(file)], _with_password(url, environment))


def _server(url: str) -> list[str]:
    parts = urlsplit(url)
    return ["--host", str(parts.hostname), "--port", str(parts.port), "--username", str(parts.username)]


def _with_password(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    return {**environment, "PGPASSWORD": str(urlsplit(url).password)}
