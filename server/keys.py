"""The keys of the service: one JSON file that every process of server and worker reads at start.

    {"access_token_keys": ["…", "…"], "page_token_key": "…", "mail_token_key": "…",
     "webhook_key": "…"}

Every key is 32 bytes in unpadded base64url. Of the access-token keys the first signs and all verify:
to replace it, append a new one and restart every process, swap the two and restart, and drop the old
one an access token's lifetime later. Nobody is signed out.

A file of an older version lacks keys that this one needs; `complete` adds them and changes no other.

    python -m server.keys new PATH
    python -m server.keys complete PATH
"""

import base64
import binascii
import hashlib
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.config import Settings

KEY_BYTES = 32
ACCESS_TOKEN_KEYS_MAX = 2
_FIELDS = ("access_token_keys", "page_token_key", "mail_token_key", "webhook_key")
_KEY_LENGTH = len(base64.urlsafe_b64encode(bytes(KEY_BYTES)).rstrip(b"="))
# A random key has about 30 distinct bytes and is never text; one that was typed or copied from an
# example, such as 32 zeros or a sentence, is one or the other.
_DISTINCT_BYTES_MIN = 16
_TEXT = re.compile(rb"[\x20-\x7e]+")
# Owner and group may read it (a mounted secret belongs to the group), nobody else may do anything.
_REFUSED_MODE = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP


class KeysRefusedError(Exception):
    """The keys cannot be used; the message says what to do and never holds a key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key for access tokens.

    Attributes:
        kid: Key id, derived from the public key; sent in every token.
    """

    kid: str
    private_key: Ed25519PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """One key for each purpose.

    Attributes:
        access_token_keys: The first signs, all verify.
        page_token_key: 32 bytes.
        mail_token_key: 32 bytes.
        webhook_key: 32 bytes; the secrets of webhooks are stored under it.
    """

    access_token_keys: tuple[SigningKey, ...]
    page_token_key: bytes = field(repr=False)
    mail_token_key: bytes = field(repr=False)
    webhook_key: bytes = field(repr=False)


def load(settings: Settings) -> Keys:
    """Read the keys file that the settings name.

    Raises:
        KeysRefusedError: The file is missing, open to other users (outside `local` and `test`),
            malformed, or holds a key that is short, used twice or not random.
    """
    path = settings.token_keys_file
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except FileNotFoundError:
        raise KeysRefusedError(f"{path} is missing: make it with `python -m server.keys new {path}`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise KeysRefusedError(f"{path} cannot be read ({type(error).__name__}): check the file") from None
    if settings.is_production and mode & _REFUSED_MODE:
        raise KeysRefusedError(f"{path} is open to other users: run `chmod 600 {path}`")
    try:
        return _parse(text)
    except _MalformedError as error:
        raise KeysRefusedError(f"{path}: {error}; `python -m server.keys new` writes a good one") from None


def write_new(path: Path) -> None:
    """Write a file of new random keys that only its owner may read.

    Raises:
        FileExistsError: There is a file already; it is left alone.
    """
    _write(path, _with_missing({}))


def complete(path: Path) -> None:
    """Add new random keys for what an older version did not know; those that are there stay.

    Raises:
        OSError, ValueError: It cannot be read or written, or is no JSON object; it is left alone.
    """
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise ValueError("not an object")
    if content.keys() >= set(_FIELDS):
        return
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    _write(unfinished, _with_missing(content))
    unfinished.replace(path)


def _with_missing(content: dict[str, object]) -> dict[str, object]:
    fresh = {name: [_new_key()] if name == "access_token_keys" else _new_key() for name in _FIELDS}
    return {**fresh, **content}


def _write(path: Path, content: dict[str, object]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")


class _MalformedError(Exception):
    pass


def _parse(text: str) -> Keys:
    try:
        content = json.loads(text)
    except ValueError:
        raise _MalformedError("it must be JSON") from None
    if not isinstance(content, dict) or set(content) != set(_FIELDS):
        raise _MalformedError(
            f"it must be an object with exactly {', '.join(sorted(_FIELDS))}: `python -m server.keys complete` adds"
            " those that are missing"
        )
    listed = content["access_token_keys"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= ACCESS_TOKEN_KEYS_MAX:
        raise _MalformedError(f"access_token_keys must be a list of 1 to {ACCESS_TOKEN_KEYS_MAX} keys")
    access = [_read_key(f"access_token_keys[{number}]", value) for number, value in enumerate(listed)]
    page = _read_key("page_token_key", content["page_token_key"])
    mail = _read_key("mail_token_key", content["mail_token_key"])
    webhook = _read_key("webhook_key", content["webhook_key"])
    private_keys = [Ed25519PrivateKey.from_private_bytes(raw) for raw in access]
    public_keys = [private_key.public_key().public_bytes_raw() for private_key in private_keys]
    # A public key is no secret, so it must not serve as one either.
    everything = [*access, *public_keys, page, mail, webhook]
    if len(set(everything)) != len(everything):
        raise _MalformedError("every key must be a different one: one key serves one purpose")
    return Keys(
        access_token_keys=tuple(map(_signing_key, private_keys, public_keys)),
        page_token_key=page,
        mail_token_key=mail,
        webhook_key=webhook,
    )


def _signing_key(private_key: Ed25519PrivateKey, public_key: bytes) -> SigningKey:
    return SigningKey(kid=hashlib.sha256(public_key).hexdigest()[:16], private_key=private_key)


def _read_key(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise _MalformedError(f"{name} must be a string")
    try:
        raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _MalformedError(f"{name} must be unpadded base64url") from None
    if len(raw) != KEY_BYTES or len(value) != _KEY_LENGTH:
        raise _MalformedError(f"{name} must have {KEY_BYTES} bytes, {_KEY_LENGTH} characters")
    if len(set(raw)) < _DISTINCT_BYTES_MIN or _TEXT.fullmatch(raw):
        raise _MalformedError(f"{name} is a sample and not random")
    return raw


def _new_key() -> str:
    return secrets.token_urlsafe(KEY_BYTES)


def main(arguments: Sequence[str]) -> int:
    """Run `python -m server.keys new PATH` or `complete PATH`; the exit status."""
    match arguments:
        case ["new", name]:
            return _report(write_new, Path(name))
        case ["complete", name]:
            return _report(complete, Path(name))
    print("usage: python -m server.keys (new | complete) PATH", file=sys.stderr)
    return 2


def _report(write: Callable[[Path], None], path: Path) -> int:
    try:
        write(path)
    except FileExistsError:
        print(f"{path} exists and was left alone: choose another path, or remove it first", file=sys.stderr)
        return 1
    except ValueError:
        print(f"{path} is no keys file and was left alone", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{path} cannot be read or written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
