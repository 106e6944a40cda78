"""Passwords of the embedded databases: random, made on the first start, readable by their owner alone."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

_FILE_NAME = "secrets.json"


@dataclass(frozen=True)
class Secrets:
    """One password for each role; all hexadecimal, so none needs quoting in a URL or in SQL."""

    postgres: str = field(repr=False)
    bank_owner: str = field(repr=False)
    bank_app: str = field(repr=False)
    redis: str = field(repr=False)


def new_secrets() -> Secrets:
    return Secrets(*(secrets.token_hex(24) for _ in range(4)))


def load_secrets(state_dir: Path) -> Secrets | None:
    path = state_dir / _FILE_NAME
    return Secrets(**json.loads(path.read_text())) if path.exists() else None


def load_or_make_secrets(state_dir: Path) -> Secrets:
    found = load_secrets(state_dir)
    if found is None:
        found = new_secrets()
        write_private(state_dir / _FILE_NAME, json.dumps(asdict(found), indent=2))
    return found


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; it is there whole or not at all."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    unfinished.replace(path)
