"""Passwords: which ones are accepted, and how they are hashed without holding up anything else."""

import asyncio
import os
import re
import secrets
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.resources import files
from typing import TypeVar

import argon2

from server.errors import LoginThrottled

LENGTH_MIN = 15
BYTES_MAX = 1024
MEMORY_COST_KIB = 19456
TIME_COST = 2
PARALLELISM = 1
RETRY_AFTER_S = 1.0
NICENESS = 10
"""Of the threads that hash; see _stand_back."""

UNPATTERNED_MIN = 10
"""So many characters must be left without runs over keys, repetitions and years: a word and digits are too few."""

# What people type when they drag a finger over the keys or count; each is also meant backwards.
_RUNS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
)
_RUN_LENGTH_MIN = 3
_RUN_PARTS = frozenset(
    run[start : start + _RUN_LENGTH_MIN]
    for forwards in _RUNS
    for run in (forwards, forwards[::-1])
    for start in range(len(run) - _RUN_LENGTH_MIN + 1)
)
_REPETITION_OR_YEAR = re.compile(r"(.)\1{2,}|(?:19|20)[0-9]{2}", re.DOTALL)

Result = TypeVar("Result")


class Passwords:
    """Hashes and checks passwords with argon2id on a few threads.

    When all threads are busy and as many passwords wait, the next one is refused at once: it is the
    dearest thing that a stranger may ask for.

    Args:
        threads: How many are hashed at once; each takes 19 MiB and one core for some 30 ms.
    """

    def __init__(self, threads: int) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=TIME_COST, memory_cost=MEMORY_COST_KIB, parallelism=PARALLELISM, hash_len=32, salt_len=16
        )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password", initializer=_stand_back)
        self.places = 2 * threads
        """How many may be hashed or wait for it."""
        self._places = threading.BoundedSemaphore(self.places)
        # Checked where there is no user, so that the answer takes as long as for a wrong password.
        self._nobodys_hash = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """The argon2id hash in PHC string form.

        Raises:
            LoginThrottled: Too many passwords are being hashed.
        """
        return await self._run(lambda: self._hasher.hash(_normalize(password)))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the one behind the hash; never for None, which takes as long.

        Raises:
            LoginThrottled: Too many passwords are being hashed.
        """
        normalized = "" if _is_too_long(password) else _normalize(password)
        if not normalized:
            password_hash = None
        return await self._run(lambda: self._matches(password_hash, normalized))

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """End the threads after what they are doing."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _matches(self, password_hash: str | None, password: str) -> bool:
        try:
            matches = self._hasher.verify(password_hash or self._nobodys_hash, password)
        except argon2.exceptions.VerifyMismatchError:
            return False
        return matches and password_hash is not None

    async def _run(self, work: Callable[[], Result]) -> Result:
        if not self._places.acquire(blocking=False):
            raise LoginThrottled(RETRY_AFTER_S)
        future: Future[Result] = self._pool.submit(work)
        # The place is free when the thread is, not when the caller has gone.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


class PasswordPolicy:
    """Which new passwords are accepted: length is what counts, nothing is asked of the characters."""

    def __init__(self) -> None:
        lines = files("server").joinpath("blocklist.txt").read_text("utf-8").splitlines()
        self._blocklist = frozenset(_letters(line) for line in lines if line and not line.startswith("#"))

    def violation(self, password: str, username: str) -> str | None:
        """What is wrong with a new password, as the end of a sentence; None if it is good."""
        if _is_too_long(password):
            return f"must have at most {BYTES_MAX} bytes"
        normalized = _normalize(password)
        folded = normalized.casefold()
        if "\0" in normalized:
            return "must not contain a NUL character"
        if len(normalized) < LENGTH_MIN:
            return f"must have {LENGTH_MIN} characters or more"
        if username and username.casefold() in folded:
            return "must not contain the user name"
        if _is_pattern(folded) or _letters(folded) in self._blocklist:
            return "is too easy to guess: choose one that is not a common phrase or pattern"
        return None


def same_password(one: str, other: str) -> bool:
    """Whether two passwords are the same, however their letters were composed."""
    return not _is_too_long(one) and not _is_too_long(other) and _normalize(one) == _normalize(other)


def _is_too_long(password: str) -> bool:
    # Looked at before composing: that takes quadratic time for many marks on one letter. Decomposed
    # letters have up to four times the bytes.
    return len(password.encode()) > 4 * BYTES_MAX or len(_normalize(password).encode()) > BYTES_MAX


def _stand_back() -> None:
    """Let this thread have the cores that nobody else wants, so that a flood of sign-ins slows no transfer."""
    if sys.platform == "linux":  # where each thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _normalize(password: str) -> str:
    # The same password typed on two machines may arrive composed or decomposed.
    return unicodedata.normalize("NFC", password)


def _letters(text: str) -> str:
    """What is left of a phrase without case, spaces, digits and signs: `Pass-Word 2024!` is `password`."""
    return "".join(character for character in text.casefold() if character.isalpha())


def _is_pattern(folded: str) -> bool:
    """Whether this is one thing repeated, or hardly more than runs, repetitions and years."""
    text = "".join(folded.split())
    if any(text[period:] == text[:-period] for period in range(1, len(text) // 2 + 1)):
        return True
    return len(_without_runs(_REPETITION_OR_YEAR.sub("", text))) < UNPATTERNED_MIN


def _without_runs(text: str) -> str:
    """What is left without the runs along the alphabet, the digits or the keyboard."""
    kept, position = [], 0
    while position < len(text):
        length = 0
        while text[position + length : position + length + _RUN_LENGTH_MIN] in _RUN_PARTS:
            length += 1
        if length:
            position += length + _RUN_LENGTH_MIN - 1
        else:
            kept.append(text[position])
            position += 1
    return "".join(kept)
