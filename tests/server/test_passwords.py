"""Passwords: the policy, and hashing that never holds up the rest."""

import asyncio
import random
import string
import time
import unicodedata
from collections.abc import AsyncIterator
from statistics import median

import argon2
import pytest

from server.caller import Origin, set_origin
from server.errors import LoginThrottled
from server.passwords import PasswordPolicy, Passwords, same_password
from server.quotas import CallQuota
from tests.server.identity import PASSWORD, matches
from tests.timing import TRIES, shortest_s


def refused_for_s(passwords: Passwords) -> float:
    """How long a caller is told to wait who finds no place."""
    with pytest.raises(LoginThrottled) as refused, passwords.place():
        pass
    return refused.value.retry_after_s


@pytest.fixture(scope="module")
def policy() -> PasswordPolicy:
    return PasswordPolicy()


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(1, places=2)
    yield made
    await made.close()


class TestPasswordPolicy:
    @pytest.mark.parametrize(
        "password",
        [
            PASSWORD,
            "local demo passphrase",
            "x7#kQ9!vLm2@pR4",
            "83920193847561047",
            "     fifteen spaces around it     ",
            "🦉🌲🌙🍄🦊🌿🐝🍂🌻🦔🌾🐞🍁🌰🦌",
            "пятнадцать букв и больше",
            "wortqkbxzmdufhe",
            "Grüße aus dem Café am Fluss",
            "my cat was born in 2019",
            "forty 12345 thieves again",
        ],
    )
    def test_long_and_uncommon_is_accepted_whatever_its_characters(self, policy: PasswordPolicy, password: str) -> None:
        assert policy.violation(password, "alice") is None

    @pytest.mark.parametrize("length", [64, 128, 1024])
    def test_long_password_is_accepted(self, policy: PasswordPolicy, length: int) -> None:
        password = "".join(random.Random(length).choices(string.ascii_lowercase, k=length))
        assert policy.violation(password, "alice") is None

    @pytest.mark.parametrize("password", ["", "short", "x7#kQ9!vLm2@pR", "🦉🌲🌙🍄🦊🌿🐝🍂🌻🦔🌾🐞🍁🌰"])
    def test_fewer_than_fifteen_characters_are_refused(self, policy: PasswordPolicy, password: str) -> None:
        assert policy.violation(password, "alice") == "must have 15 characters or more"

    def test_decomposed_letters_count_once(self, policy: PasswordPolicy) -> None:
        decomposed = "cafe\u0301 riviere" + "12"
        assert len(decomposed) == 15
        assert policy.violation(decomposed, "alice") == "must have 15 characters or more"

    @pytest.mark.parametrize("password", ["0aq" * 341 + "zy", "é" * 511 + "xyz"])
    def test_more_than_1024_bytes_are_refused(self, policy: PasswordPolicy, password: str) -> None:
        assert len(password.encode()) == 1025
        assert policy.violation(password, "alice") == "must have at most 1024 bytes"

    def test_marks_without_end_are_refused_in_no_time(self, policy: PasswordPolicy) -> None:
        marks = "e" + "\u0301" * 15_000 + "\u0327" * 15_000
        assert policy.violation(marks, "alice") == "must have at most 1024 bytes"
        assert not same_password(marks, marks)
        assert shortest_s(lambda: policy.violation(marks, "alice")) < 0.05
        assert shortest_s(lambda: same_password(marks, marks)) < 0.05

    def test_decomposed_letters_count_as_their_composed_bytes(self, policy: PasswordPolicy) -> None:
        letters = "".join(chr(code) for code in range(0x1EA0, 0x1EA0 + 90))  # three bytes each, decomposed five
        password = letters * 3 + "ab"
        assert len(unicodedata.normalize("NFD", password).encode()) > 1024
        assert policy.violation(unicodedata.normalize("NFD", password), "alice") is None

    def test_nul_is_refused(self, policy: PasswordPolicy) -> None:
        assert policy.violation("seven blue\0herons at dusk", "alice") == "must not contain a NUL character"

    @pytest.mark.parametrize("password", ["the alice of the lake", "the ALICE of the lake"])
    def test_user_name_inside_is_refused(self, policy: PasswordPolicy, password: str) -> None:
        assert policy.violation(password, "alice") == "must not contain the user name"

    @pytest.mark.parametrize(
        "password",
        [
            "aaaaaaaaaaaaaaa",
            "abcabcabcabcabcabc",
            "passwordpassword",
            "hunter2hunter2hunter2",
            "123456789012345",
            "abcdefghijklmnopqrs",
            "zyxwvutsrqponmlk",
            "qwertyuiopasdfghjkl",
            "1qaz2wsx3edc4rfv5tgb",
            "QWERTYUIOP ASDFGH",
            "Password1234567890!",
            "correct horse battery staple",
            "CorrectHorseBatteryStaple!1",
            "Transactions-API 2026",
            "may the force be with you",
            "let me in, please!!",
            "               ",
            "michael12345678",
            "mustang!!!!!!!!!!!!!",
            "samantha 2024 2025 2026",
            "12345678987654321",
            "111222333444555",
            "123456789101112",
            "1234qwerasdfzxcv",
            "q1w2e3r4t5y6u7i8",
            "1qazxsw23edcvfr4",
            "Manchester 1234567890",
        ],
    )
    def test_common_phrase_or_pattern_is_refused(self, policy: PasswordPolicy, password: str) -> None:
        violation = policy.violation(password, "alice")
        assert violation is not None
        assert violation.startswith("is too easy to guess")


class TestVerify:
    async def test_hash_is_argon2id_with_at_least_the_documented_cost(self, passwords: Passwords) -> None:
        parameters = argon2.extract_parameters(await passwords.hash(PASSWORD))
        assert parameters.type is argon2.Type.ID
        assert parameters.memory_cost >= 19456
        assert parameters.time_cost >= 2
        assert parameters.parallelism == 1
        assert parameters.salt_len >= 16

    async def test_same_password_is_hashed_differently_each_time(self, passwords: Passwords) -> None:
        assert await passwords.hash(PASSWORD) != await passwords.hash(PASSWORD)

    async def test_right_password_matches_and_others_do_not(self, passwords: Passwords) -> None:
        password_hash = await passwords.hash(PASSWORD)
        assert await matches(passwords, password_hash, PASSWORD)
        for wrong in (PASSWORD + "x", PASSWORD[:-1], PASSWORD.upper(), "", "\0", "x" * 1025):
            assert not await matches(passwords, password_hash, wrong)

    async def test_nothing_is_cut_off(self, passwords: Passwords) -> None:
        password_hash = await passwords.hash("y" * 1024)
        assert await matches(passwords, password_hash, "y" * 1024)
        assert not await matches(passwords, password_hash, "y" * 1023)
        assert not await matches(passwords, password_hash, "y" * 1023 + "z")

    async def test_marks_without_end_hold_up_nobody(self, passwords: Passwords) -> None:
        password_hash = await passwords.hash(PASSWORD)
        marks = "e" + "\u0301" * 15_000 + "\u0327" * 15_000
        held_up_s = []
        for _ in range(TRIES):
            started = time.perf_counter()
            verifying = asyncio.create_task(matches(passwords, password_hash, marks))
            await asyncio.sleep(0)
            held_up_s.append(time.perf_counter() - started)
            assert not await verifying
        assert min(held_up_s) < 0.05

    async def test_composed_and_decomposed_letters_are_the_same(self, passwords: Passwords) -> None:
        password_hash = await passwords.hash("café de la gare")
        assert await matches(passwords, password_hash, "cafe\u0301 de la gare")

    async def test_no_hash_never_matches_and_takes_as_long(self, passwords: Passwords) -> None:
        password_hash = await passwords.hash(PASSWORD)
        times: dict[str | None, list[float]] = {password_hash: [], None: []}
        for _ in range(10):
            for asked in times:
                started = time.perf_counter()
                assert not await matches(passwords, asked, "another pass phrase")
                times[asked].append(time.perf_counter() - started)
        known, unknown = (min(samples) for samples in times.values())
        assert unknown == pytest.approx(known, rel=0.5)

    async def test_hash_with_lower_cost_needs_a_rehash(self, passwords: Passwords) -> None:
        weak = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
        assert passwords.needs_rehash(weak)
        assert await matches(passwords, weak, PASSWORD)
        assert not passwords.needs_rehash(await passwords.hash(PASSWORD))


class TestBounds:
    async def test_surplus_is_refused_at_once_and_room_comes_back(self, passwords: Passwords) -> None:
        async def refusal_time() -> float | None:
            started = time.perf_counter()
            try:
                await matches(passwords, None, PASSWORD)
            except LoginThrottled:
                return time.perf_counter() - started
            return None

        outcomes = await asyncio.gather(*(refusal_time() for _ in range(30)))
        refused = [seconds for seconds in outcomes if seconds is not None]
        assert len(refused) == 28  # one is hashed and one waits
        assert median(refused) < 0.1
        assert await refusal_time() is None

    async def test_who_is_refused_is_told_to_come_back_in_turn_as_many_a_second_as_are_let_in(self) -> None:
        eight = Passwords(1, CallQuota(8, clock=lambda: 1000.0), places=1000)
        for _ in range(16):
            with eight.place():
                pass
        started = time.monotonic()
        told_s = [refused_for_s(eight) for _ in range(200)]
        took_s = time.monotonic() - started
        for turn, delay_s in enumerate(told_s, start=1):
            assert turn / 8 + 1 - took_s <= delay_s <= turn / 8 + 2
        # However many there are, nobody waits for ever, and they do not come all at once.
        told_s = [refused_for_s(eight) for _ in range(1000)][100:]
        assert 16 <= min(told_s) < 20
        assert 28 < max(told_s) <= 32
        await eight.close()

    async def test_client_network_has_its_share_and_takes_no_turn_of_the_others(self) -> None:
        shared = Passwords(1, CallQuota(4, clock=lambda: 1000.0), shares=CallQuota(1, clock=lambda: 1000.0))

        def let_in(address: str) -> int:
            """How many of three calls."""
            set_origin(Origin(address))
            for count in range(3):
                try:
                    with shared.place():
                        pass
                except LoginThrottled:
                    return count
            return 3

        assert [let_in(address) for address in ("2001:db8::1", "203.0.113.7", "2001:db8::2")] == [2, 2, 0]
        assert refused_for_s(shared) == pytest.approx(1.0)
        assert [let_in("") for _ in range(3)] == [3, 1, 0]
        set_origin(Origin())
        await shared.close()

    async def test_who_is_refused_for_want_of_a_place_keeps_the_share(self) -> None:
        shared = Passwords(1, CallQuota(1, clock=lambda: 1000.0), shares=CallQuota(1, clock=lambda: 1000.0), places=1)
        set_origin(Origin("203.0.113.7"))
        with shared.place():
            assert all(refused_for_s(shared) >= 1 for _ in range(5))
        with shared.place():
            pass
        set_origin(Origin())
        await shared.close()

    async def test_who_is_refused_for_want_of_a_place_alone_comes_back_soon(self, passwords: Passwords) -> None:
        with passwords.place(), passwords.place():
            assert all(1 <= refused_for_s(passwords) <= 2 for _ in range(100))

    async def test_place_of_a_caller_that_has_gone_is_given_back(self, passwords: Passwords) -> None:
        calls = [asyncio.create_task(matches(passwords, None, PASSWORD)) for _ in range(2)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        async with asyncio.timeout(5):
            while True:
                try:
                    await matches(passwords, None, PASSWORD)
                    return
                except LoginThrottled:
                    await asyncio.sleep(0.01)

    async def test_event_loop_goes_on_meanwhile(self, passwords: Passwords) -> None:
        verifying = asyncio.create_task(matches(passwords, None, PASSWORD))
        turns = 0
        while not verifying.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 10
