"""Hashes passwords with argon2id in a process of its own, beside a server: `python -m server.hashing_program`.

It reads one question a line from standard input, answers it on standard output, and ends when its input does, so that
it cannot outlive the server, however that goes. A question is a JSON array: `["hash", password]`, answered with the
hash, or `["verify", hash, password]`, answered with true or false; what it cannot do is answered with null.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import argon2
from argon2.low_level import Type, hash_secret_raw

MEMORY_COST_KIB = 19456
TIME_COST = 2
PARALLELISM = 1
NICENESS = 10
"""A tenth of the share that others have of a core."""
_AUTOGROUP = Path("/proc/self/autogroup")


def new_hasher() -> argon2.PasswordHasher:
    """With the parameters of today."""
    return argon2.PasswordHasher(
        time_cost=TIME_COST, memory_cost=MEMORY_COST_KIB, parallelism=PARALLELISM, hash_len=32, salt_len=16
    )


def answer(hasher: argon2.PasswordHasher, question: list[str]) -> str | bool | None:
    """The answer to one question; it takes as long whatever the parameters of the hash are, up to those of today."""
    try:
        if question[0] == "hash":
            return hasher.hash(question[1])
        _, password_hash, password = question
        return _matches(hasher, password_hash, password)
    except argon2.exceptions.InvalidHashError:
        return None


def _matches(hasher: argon2.PasswordHasher, password_hash: str, password: str) -> bool:
    parameters = argon2.extract_parameters(password_hash)
    try:
        return hasher.verify(password_hash, password)
    except argon2.exceptions.VerifyMismatchError:
        return False
    finally:
        # Else an answer that comes sooner than that for nobody would tell that somebody has an old hash.
        missing_kib = MEMORY_COST_KIB - parameters.memory_cost * parameters.time_cost // TIME_COST
        if missing_kib >= 8 * PARALLELISM:
            hash_secret_raw(password.encode(), bytes(16), TIME_COST, missing_kib, PARALLELISM, 32, Type.ID)


def stand_back() -> None:
    """Leave the cores to whoever else wants them, so that a flood of sign-ins slows no transfer.

    Not altogether, or nobody could sign in as long as transfers keep the cores busy.
    """
    os.nice(NICENESS)
    # Where Linux shares the cores out by session (autogroups), niceness counts within a session only; the whole
    # session, which is this process, is nice by another file.
    with suppress(OSError):
        _AUTOGROUP.write_text(str(NICENESS))


def main() -> None:
    """Answer until the questions end."""
    stand_back()
    hasher = new_hasher()
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(json.dumps(answer(hasher, json.loads(line))).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
