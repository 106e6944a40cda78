"""Passwords: which ones are accepted, and how they are hashed without holding up anything else."""

import asyncio
import random
import re
import secrets
import unicodedata
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from time import monotonic

from server.caller import current_origin
from server.errors import LoginThrottled, RateLimited
from server.hashing import HashingProcess
from server.hashing_program import new_hasher
from server.quotas import CallQuota
from server.throttles import network_of

LENGTH_MIN = 15
BYTES_MAX = 1024
_RETRY_AFTER_S = (1.0, 2.0)
"""Between these if nobody else waits: who is refused at once with many others shall not come back with all of them."""
_TURN_MAX_S = 30.0
"""Nobody is sent away for longer, however many were before them."""

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


class Passwords:
    """Hashes and checks passwords with argon2id in processes of their own.

    When all of them are busy and thrice as many passwords wait, the next one is refused at once, and so is
    one too many a second: it is the dearest thing that a stranger may ask for. Those who are refused are
    told to come back one after the other, as many a second as the quota lets in, so that a crowd that heeds
    it costs hardly more than the passwords it may try.

    Of all that a client network gets a share, also who calls with the right password: else one user who signs
    in without pause would keep everybody out.

    Args:
        processes: How many are hashed at once; each takes 33 MiB and one core for some 30 ms.
        quota: How many are hashed a second; None: any number.
        places: How many may be hashed or wait for it; four for each process unless given.
        shares: How many are hashed a second for one client network; None: any number.
    """

    def __init__(
        self,
        processes: int,
        quota: CallQuota | None = None,
        places: int | None = None,
        shares: CallQuota | None = None,
    ) -> None:
        self._hasher = new_hasher()
        self._processes = [HashingProcess() for _ in range(processes)]
        self._idle: asyncio.LifoQueue[HashingProcess] = asyncio.LifoQueue()
        for process in self._processes:
            self._idle.put_nowait(process)
        self._quota = quota
        self._shares = shares
        # When the last of those who were refused is to come back, by monotonic().
        self._last_turn = 0.0
        self._places = places or 4 * processes
        self._exchanges: set[asyncio.Task[str | bool]] = set()
        # Checked where there is no user, so that the answer takes as long as for a wrong password.
        self._nobodys_hash = self._hasher.hash(secrets.token_urlsafe())

    async def start(self) -> None:
        """Have the processes running, so that the first password need not wait for them.

        Raises:
            OSError: The machine has no room for them.
        """
        for process in self._processes:
            await process.start()

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Room for one password, and for what has to be done before and after it is hashed.

        A call that is refused while it has the place, because its caller must wait, has used up nothing.

        Raises:
            LoginThrottled: Too many passwords are being hashed, or were this second, for all or for the client
                network that the present call comes from.
        """
        network = network_of(current_origin().client_address)
        # The share first: who has used it up takes no turn of the others.
        with _taking(self._shares if network else None, network, LoginThrottled):
            if not self._places:
                raise self._too_many()
            with _taking(self._quota, None, lambda _: self._too_many()):
                self._places -= 1
                try:
                    yield Place(self._ask, self._nobodys_hash)
                finally:
                    self._places += 1

    async def hash(self, password: str) -> str:
        """The argon2id hash in PHC string form.

        Raises:
            LoginThrottled: Too many passwords are being hashed, or were this second.
            PasswordsUnavailable: No process could be made to hash it.
        """
        with self.place() as place:
            return await place.hash(password)

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    async def close(self) -> None:
        """End the processes; nothing can be hashed any more."""
        self._places = 0
        for exchange in self._exchanges:
            exchange.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        await asyncio.gather(*(process.close() for process in self._processes))

    def _too_many(self) -> LoginThrottled:
        now = monotonic()
        interval_s = self._quota.interval_s if self._quota is not None else 0.0
        self._last_turn = max(now, self._last_turn) + interval_s
        turn_s = self._last_turn - now
        if turn_s > _TURN_MAX_S:
            self._last_turn = now + _TURN_MAX_S
            # The crowd does not heed it: who does is spread over what is left.
            turn_s = random.uniform(_TURN_MAX_S / 2, _TURN_MAX_S)  # noqa: S311 - spreads tries, keeps no secret
        return LoginThrottled(turn_s + random.uniform(*_RETRY_AFTER_S))  # noqa: S311 - the same

    async def _ask(self, question: list[str]) -> str | bool:
        process = await self._idle.get()
        exchange = asyncio.create_task(process.ask(question))
        self._exchanges.add(exchange)

        def end(_: object) -> None:
            self._exchanges.discard(exchange)
            self._idle.put_nowait(process)

        exchange.add_done_callback(end)
        # A caller that goes leaves a process that is busy until it has answered.
        return await asyncio.shield(exchange)


@contextmanager
def _taking(quota: CallQuota | None, caller: Hashable, refusal: Callable[[float], LoginThrottled]) -> Iterator[None]:
    """Count a call, unless the body is refused; the refusal is made of the seconds to wait."""
    if quota is None:
        yield
        return
    try:
        quota.take(caller)
    except RateLimited as refused:
        raise refusal(refused.retry_after_s) from None
    try:
        yield
    except RateLimited:
        quota.give_back(caller)
        raise


class Place:
    """Where one password may be hashed; see Passwords.place."""

    def __init__(self, ask: Callable[[list[str]], Awaitable[str | bool]], nobodys_hash: str) -> None:
        self._ask = ask
        self._nobodys_hash = nobodys_hash

    async def hash(self, password: str) -> str:
        """The argon2id hash in PHC string form.

        Raises:
            PasswordsUnavailable: No process could be made to hash it.
        """
        return str(await self._ask(["hash", _normalize(password)]))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the one behind the hash; never for None, which takes as long.

        Raises:
            PasswordsUnavailable: No process could be made to check it.
        """
        normalized = "" if _is_too_long(password) else _normalize(password)
        if not normalized:
            password_hash = None
        matches = await self._ask(["verify", password_hash or self._nobodys_hash, normalized])
        return bool(matches) and password_hash is not None


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
