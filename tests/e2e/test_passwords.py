"""Passwords and addresses as a stranger, a thief and their owner meet them: through the gateway, over both wires."""

import asyncio
import json
import random
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import argon2
import pytest

from local.demo import DEMO_PASSWORD
from server.tokens import digest
from tests.clocks import Stalls
from tests.e2e.conftest import ABSENT, Bank, Person, transfer_fields
from tests.e2e.wire import Answer, Wire
from tests.mailed_links import RESET_PAGE, VERIFY_PAGE, token_mailed_to

NEW_PASSWORD = "eleven grey seals on a rock"
IA = ("INVALID_ARGUMENT", "INVALID_REQUEST")
UA = ("UNAUTHENTICATED", "BAD_CREDENTIALS")
FP = ("FAILED_PRECONDITION", "TOKEN_INVALID")
REVOKED = ("UNAUTHENTICATED", "SESSION_REVOKED")
REFUSED_PASSWORDS = {
    "empty": "",
    "14 characters": "x7#kQ9!vLm2@pR",
    "1,025 bytes": "0aq" * 341 + "zy",
    "1,025 bytes in 514 characters": "é" * 511 + "xyz",
    "marks without end": "e" + "\u0301" * 10_000,
    "doubled top entry": "passwordpassword",
    "padded top entry": "michael12345678",
    "keyboard": "1qaz2wsx3edc4rfv5tgb",
    "name of the service": "Transactions-API 2026",
    "known example": "correct horse battery staple",
    "spaces alone": " " * 20,
    "14 characters once composed": "cafe\u0301 riviere12",
    "NUL": "seven blue\0herons at dusk",
}
ACCEPTED_PASSWORDS = {
    "15 characters": "x7#kQ9!vLm2@pR4",
    "64 characters": "mlkwheqpzndtyusrgvxcbaofijmlwkheqpzndtyusrgvxcbaofijmqlkwhezpndt",
    "1,024 bytes": "".join(random.Random(1).choices("абвгдежзиклмнопрст", k=512)),
    "spaces": "  five dark boats drift apart  ",
    "emoji": "🦉🌲🌙🍄🦊🌿🐝🍂🌻🦔🌾🐞🍁🌰🦌",
    "digits": "83920193847561047",
}
BAD_ADDRESSES = [
    "",
    "victim@example.com\r\nBcc: all@example.com",
    "victim@example.com\nBcc: all@example.com",
    "victim@example.com,all@example.com",
    "victim@example.com;all@example.com",
    "victim@example.com all@example.com",
    "Victim <victim@example.com>",
    '"victim@example.com"@example.org',
    "victim@example.com\0",
    "victim@[127.0.0.1]",
    "victim\u202e@example.com",
]


def why(answer: Answer) -> tuple[str, str]:
    return answer.code, answer.reason


def address_of(username: str) -> str:
    return f"{username}@example.com"


async def pass_a_minute(bank: Bank) -> None:
    """Let another mail be asked for."""
    await bank.owner.execute("UPDATE mail_tokens SET create_time = create_time - interval '61 s'")


async def mails_to(bank: Bank, username: str) -> int:
    return int(
        await bank.owner.fetchval(
            "SELECT count(*) FROM mail_tokens JOIN users ON users.id = user_id WHERE username = $1", username
        )
    )


async def verified(bank: Bank, person: Person) -> tuple[str, bool]:
    """Address, and whether it is proven."""
    row = await bank.owner.fetchrow("SELECT email, email_verified FROM users WHERE username = $1", person.username)
    assert row is not None
    return tuple(row)


async def create_user(bank: Bank, wire: Wire, password: str) -> str:
    """Sign somebody up by the call itself, and wait for what the worker does for them; the name."""
    username = f"u{uuid4().hex[:16]}"
    sign_up = {"username": username, "full_name": "Somebody", "email": address_of(username), "password": password}
    assert (await wire.call("CreateUser", sign_up)).code == "OK"
    await bank.idle()
    return username


async def stored_hash(bank: Bank, username: str) -> str:
    return str(await bank.owner.fetchval("SELECT password_hash FROM users WHERE username = $1", username))


async def signs_in(bank: Bank, username: str, password: str) -> Answer:
    return await bank.json.call("CreateSession", {"username": username, "password": password})


async def ask_for_reset(bank: Bank, username: str) -> str:
    """A token that sets the password of a user."""
    answer = await bank.grpc.call("RequestPasswordReset", {"email": address_of(username)})
    assert answer.code == "OK", answer
    return await token_mailed_to(bank.stack.mail_dir, address_of(username), RESET_PAGE)


@pytest.fixture(params=["grpc", "json"])
def wire(bank: Bank, request: pytest.FixtureRequest) -> Wire:
    return next(wire for wire in bank.wires if wire.name == request.param)


def change(current_password: str, new_password: str = NEW_PASSWORD, user_id: str = "me") -> dict[str, Any]:
    return {"user_id": user_id, "current_password": current_password, "new_password": new_password}


class TestChangePassword:
    async def test_wrong_current_password_changes_nothing(self, bank: Bank) -> None:
        person = await bank.person()
        before = await stored_hash(bank, person.username)
        for wrong in ("", "another pass phrase", DEMO_PASSWORD.upper(), DEMO_PASSWORD + " "):
            assert why(await bank.both("ChangePassword", change(wrong), person.token)) == UA
        assert await stored_hash(bank, person.username) == before
        assert (await signs_in(bank, person.username, DEMO_PASSWORD)).code == "OK"

    async def test_other_sessions_end_at_once_and_the_session_of_the_call_goes_on(self, bank: Bank, wire: Wire) -> None:
        person = await bank.person()
        thief = await bank.sign_in(person.username)
        source, destination = await bank.account(person, 100), await bank.account(person)
        assert (await wire.call("ChangePassword", change(DEMO_PASSWORD), person.token)).code == "OK"
        moved = await wire.call("CreateTransfer", transfer_fields(source, destination), thief.token)
        assert why(moved) == REVOKED
        assert await bank.posted_minor(source) == 100
        assert why(await wire.call("RefreshSession", {"refresh_token": thief.refresh_token})) == REVOKED
        await reads_nothing_soon(wire, thief)
        assert (await wire.call("CreateTransfer", transfer_fields(source, destination), person.token)).code == "OK"
        assert (await wire.call("RefreshSession", {"refresh_token": person.refresh_token})).code == "OK"

    async def test_old_password_signs_in_no_more(self, bank: Bank, wire: Wire) -> None:
        person = await bank.person()
        assert (await wire.call("ChangePassword", change(DEMO_PASSWORD), person.token)).code == "OK"
        assert why(await signs_in(bank, person.username, DEMO_PASSWORD)) == UA
        assert (await signs_in(bank, person.username, NEW_PASSWORD)).code == "OK"

    async def test_password_of_somebody_else_looks_like_that_of_nobody(self, bank: Bank) -> None:
        person, other = await bank.person(), await bank.person()
        answers = [
            (await bank.both("ChangePassword", change(DEMO_PASSWORD, user_id=each), person.token)).without(each)
            for each in (other.user_id, ABSENT)
        ]
        assert answers[0] == answers[1]
        assert '"NOT_FOUND"' in answers[0]

    async def test_stolen_session_that_guesses_is_throttled_and_the_session_lives_on(self, bank: Bank) -> None:
        person = await bank.person()
        answers = [await bank.grpc.call("ChangePassword", change("wrong pass phrase"), person.token) for _ in range(11)]
        assert [answer.reason for answer in answers] == ["BAD_CREDENTIALS"] * 10 + ["LOGIN_THROTTLED"]
        for wire in bank.wires:
            throttled = await wire.call("ChangePassword", change(DEMO_PASSWORD), person.token)
            assert why(throttled) == ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")
            assert throttled.detail("RetryInfo")
        assert (await bank.json.call("GetUser", {"user_id": "me"}, person.token)).code == "OK"


async def reads_nothing_soon(wire: Wire, person: Person) -> None:
    """A session that has ended opens nothing after a second."""
    await asyncio.sleep(1)
    assert why(await wire.call("GetUser", {"user_id": "me"}, person.token)) == REVOKED


class TestPolicy:
    @pytest.mark.parametrize("name", REFUSED_PASSWORDS)
    async def test_easy_password_is_refused_wherever_one_is_set(self, bank: Bank, name: str) -> None:
        password = REFUSED_PASSWORDS[name]
        sign_up = {"username": f"u{uuid4().hex[:16]}", "full_name": "Somebody", "email": "somebody@example.com"}
        answer = await bank.both("CreateUser", {**sign_up, "password": password})
        assert (why(answer), answer.violated_fields) == (IA, ["password"])
        person = await bank.person()
        answer = await bank.both("ChangePassword", change(DEMO_PASSWORD, password), person.token)
        assert (why(answer), answer.violated_fields) == (IA, ["new_password"])
        assert not password or password not in answer.without()

    async def test_user_name_inside_is_refused(self, bank: Bank) -> None:
        person = await bank.person()
        sign_up = {"username": "Marguerite", "full_name": "Somebody", "email": "somebody@example.com"}
        answer = await bank.both("CreateUser", {**sign_up, "password": "oh my MARGUERITE dear"})
        assert (why(answer), answer.violated_fields) == (IA, ["password"])
        new_password = f"oh my {person.username.upper()} dear"
        answer = await bank.both("ChangePassword", change(DEMO_PASSWORD, new_password), person.token)
        assert (why(answer), answer.violated_fields) == (IA, ["new_password"])

    async def test_current_password_is_refused(self, bank: Bank) -> None:
        person = await bank.person()
        answer = await bank.both("ChangePassword", change(DEMO_PASSWORD, DEMO_PASSWORD), person.token)
        assert (why(answer), answer.violated_fields) == (IA, ["new_password"])

    @pytest.mark.parametrize("name", ACCEPTED_PASSWORDS)
    async def test_long_password_of_any_kind_is_accepted_and_nothing_of_it_is_cut_off(
        self, bank: Bank, wire: Wire, name: str
    ) -> None:
        password = ACCEPTED_PASSWORDS[name]
        username = await create_user(bank, wire, password)
        assert (await signs_in(bank, username, password)).code == "OK"
        assert why(await signs_in(bank, username, password[:-1])) == UA

    async def test_composed_and_decomposed_letters_are_one_password(self, bank: Bank, wire: Wire) -> None:
        password = "une journée à la plage"
        decomposed = unicodedata.normalize("NFD", password)
        username = await create_user(bank, wire, decomposed)
        assert (await signs_in(bank, username, password)).code == "OK"
        assert (await signs_in(bank, username, decomposed)).code == "OK"

    async def test_password_of_endless_marks_holds_up_nobody(self, bank: Bank) -> None:
        marks = "e" + "\u0301" * 14_000 + "\u0327" * 14_000
        started = time.perf_counter()
        unicodedata.normalize("NFC", marks)  # what the server must not do, as the time it takes grows with the square
        normalized = time.perf_counter()
        fields = [{"username": f"nobody{number}", "password": marks} for number in range(4)]
        async with Stalls() as stalls:
            answers = await asyncio.gather(*(bank.grpc.call("CreateSession", each) for each in fields))
        assert {why(answer) for answer in answers} == {UA}
        assert time.perf_counter() - normalized - stalls.total_s < normalized - started


class TestStoredHash:
    async def test_it_is_argon2id_with_at_least_the_documented_cost(self, bank: Bank, wire: Wire) -> None:
        for_sign_up = argon2.extract_parameters(await stored_hash(bank, await create_user(bank, wire, NEW_PASSWORD)))
        person = await bank.person()
        await wire.call("ChangePassword", change(DEMO_PASSWORD), person.token)
        for_change = argon2.extract_parameters(await stored_hash(bank, person.username))
        for parameters in (for_sign_up, for_change):
            assert (parameters.type, parameters.parallelism) == (argon2.Type.ID, 1)
            assert parameters.memory_cost >= 19456
            assert (parameters.time_cost >= 2, parameters.salt_len >= 16) == (True, True)

    async def test_hash_of_lower_cost_is_made_anew_at_the_next_sign_in(self, bank: Bank, wire: Wire) -> None:
        username = await bank.sign_up()
        weak = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(DEMO_PASSWORD)
        await bank.owner.execute("UPDATE users SET password_hash = $2 WHERE username = $1", username, weak)
        fields = {"username": username, "password": "another pass phrase"}
        assert why(await wire.call("CreateSession", fields)) == UA
        assert await stored_hash(bank, username) == weak
        assert (await wire.call("CreateSession", {**fields, "password": DEMO_PASSWORD})).code == "OK"
        assert argon2.extract_parameters(await stored_hash(bank, username)).memory_cost >= 19456
        assert (await wire.call("CreateSession", {**fields, "password": DEMO_PASSWORD})).code == "OK"


class TestResetByMail:
    async def test_mailed_token_sets_the_password_and_ends_every_session(self, bank: Bank, wire: Wire) -> None:
        person = await bank.person()
        source, destination = await bank.account(person, 100), await bank.account(person)
        assert (await wire.call("RequestPasswordReset", {"email": address_of(person.username).upper()})).reply == {}
        token = await token_mailed_to(bank.stack.mail_dir, address_of(person.username), RESET_PAGE)
        answer = await wire.call("ResetPassword", {"token": token, "new_password": NEW_PASSWORD})
        assert (answer.code, answer.reply) == ("OK", {})
        moved = await wire.call("CreateTransfer", transfer_fields(source, destination), person.token)
        assert why(moved) == REVOKED
        assert why(await wire.call("RefreshSession", {"refresh_token": person.refresh_token})) == REVOKED
        assert why(await signs_in(bank, person.username, DEMO_PASSWORD)) == UA
        assert (await signs_in(bank, person.username, NEW_PASSWORD)).code == "OK"

    async def test_throttled_owner_gets_in_again(self, bank: Bank) -> None:
        username = await bank.sign_up()
        while (await signs_in(bank, username, "wrong pass phrase")).reason == "BAD_CREDENTIALS":
            pass
        assert (await signs_in(bank, username, DEMO_PASSWORD)).reason == "LOGIN_THROTTLED"
        token = await ask_for_reset(bank, username)
        assert (await bank.json.call("ResetPassword", {"token": token, "new_password": NEW_PASSWORD})).code == "OK"
        assert (await signs_in(bank, username, NEW_PASSWORD)).code == "OK"

    async def test_known_and_unknown_addresses_are_answered_alike(self, bank: Bank) -> None:
        unverified = address_of(await bank.sign_up(verified=False))
        answers = [
            await wire.call("RequestPasswordReset", {"email": address})
            for address in (address_of(await bank.sign_up()), "nobody@example.com", unverified)
            for wire in bank.wires
        ]
        assert answers == [Answer("OK")] * 6


@asynccontextmanager
async def expired(bank: Bank, token: str) -> AsyncIterator[None]:
    """While the time of a token is over."""
    age = "UPDATE mail_tokens SET expire_time = expire_time + make_interval(hours => $2) WHERE token_hash = $1"
    await bank.owner.execute(age, digest(token), -25)
    yield
    await bank.owner.execute(age, digest(token), 25)


def forgeries(token: str, others: str) -> list[str]:
    """Tokens that must be refused, made from a good one and that of another user."""
    middle = len(token) // 2
    changed = "A" if token[middle] != "A" else "B"
    return [
        "",
        "x",
        "\0",
        token[:-1],
        token + "A",
        token.swapcase(),
        token[:middle] + changed + token[middle + 1 :],
        token[:22] + others[22:],
        others[:22] + token[22:],
        "A" * len(token),
        "x" * 60_000,
    ]


class TestTokenThatSetsThePassword:
    async def test_forged_token_is_refused_with_one_text_and_the_good_one_stays(self, bank: Bank) -> None:
        alice, bob = await bank.sign_up(), await bank.sign_up()
        token, others = [await ask_for_reset(bank, username) for username in (alice, bob)]
        assert len(token) == 64
        stored = await bank.owner.fetch(
            "SELECT mail_tokens::text, outbox::text FROM mail_tokens JOIN outbox USING (id)"
        )
        assert token not in json.dumps([list(row) for row in stored])
        answers = {
            (await bank.both("ResetPassword", {"token": wrong, "new_password": password})).without()
            for wrong in forgeries(token, others)
            for password in (NEW_PASSWORD, "short")
        }
        assert len(answers) == 1
        assert '"TOKEN_INVALID"' in answers.pop()
        for password in ("short", f"oh my {alice} dear"):
            answer = await bank.both("ResetPassword", {"token": token, "new_password": password})
            assert (why(answer), answer.violated_fields) == (IA, ["new_password"])
        async with expired(bank, token):
            assert why(await bank.both("ResetPassword", {"token": token, "new_password": NEW_PASSWORD})) == FP
        assert (await signs_in(bank, alice, DEMO_PASSWORD)).code == "OK"
        assert (await bank.json.call("ResetPassword", {"token": token, "new_password": NEW_PASSWORD})).code == "OK"

    async def test_token_is_used_up_and_superseded_by_a_newer_one(self, bank: Bank) -> None:
        username = await bank.sign_up()
        older = await ask_for_reset(bank, username)
        await pass_a_minute(bank)
        await bank.json.call("RequestPasswordReset", {"email": address_of(username)})
        newer = await token_mailed_to(bank.stack.mail_dir, address_of(username), RESET_PAGE, older)
        assert why(await bank.both("ResetPassword", {"token": older, "new_password": NEW_PASSWORD})) == FP
        assert (await bank.grpc.call("ResetPassword", {"token": newer, "new_password": NEW_PASSWORD})).code == "OK"
        assert why(await bank.both("ResetPassword", {"token": newer, "new_password": DEMO_PASSWORD})) == FP
        assert (await signs_in(bank, username, NEW_PASSWORD)).code == "OK"

    async def test_one_of_twenty_at_once_wins(self, bank: Bank) -> None:
        username = await bank.sign_up()
        token = await ask_for_reset(bank, username)
        new = [f"{NEW_PASSWORD} number {number}" for number in range(20)]
        answers = await asyncio.gather(
            *(
                bank.wires[number % 2].call("ResetPassword", {"token": token, "new_password": new[number]})
                for number in range(20)
            )
        )
        won = [number for number, answer in enumerate(answers) if answer.code == "OK"]
        assert len(won) == 1
        # The others came too late, or found no place to have a password hashed.
        assert {answer.reason for answer in answers} - {"", "LOGIN_THROTTLED"} <= {"TOKEN_INVALID"}
        assert (await signs_in(bank, username, new[won[0]])).code == "OK"

    async def test_token_of_another_purpose_sets_nothing(self, bank: Bank) -> None:
        username = await create_user(bank, bank.grpc, DEMO_PASSWORD)
        person = await bank.sign_in(username)
        proves = await token_mailed_to(bank.stack.mail_dir, address_of(username), VERIFY_PAGE)
        for token in (proves, person.token, person.refresh_token):
            assert why(await bank.both("ResetPassword", {"token": token, "new_password": NEW_PASSWORD})) == FP
        sets = await ask_for_reset(bank, await bank.sign_up())
        assert why(await bank.both("VerifyEmail", {"token": sets})) == FP


class TestTokenThatProvesAnAddress:
    async def sign_up(self, bank: Bank) -> Person:
        return await bank.sign_in(await create_user(bank, bank.json, DEMO_PASSWORD))

    async def test_forged_token_is_refused_with_one_text_and_the_good_one_stays(self, bank: Bank) -> None:
        alice, bob = await self.sign_up(bank), await self.sign_up(bank)
        token, others = [
            await token_mailed_to(bank.stack.mail_dir, address_of(person.username), VERIFY_PAGE)
            for person in (alice, bob)
        ]
        answers = {(await bank.both("VerifyEmail", {"token": wrong})).without() for wrong in forgeries(token, others)}
        assert len(answers) == 1
        assert '"TOKEN_INVALID"' in answers.pop()
        async with expired(bank, token):
            assert why(await bank.both("VerifyEmail", {"token": token})) == FP
        assert await verified(bank, alice) == (address_of(alice.username), False)
        assert (await bank.json.call("VerifyEmail", {"token": token})).reply["user"]["email_verified"]
        assert why(await bank.both("VerifyEmail", {"token": token})) == FP

    async def test_newer_token_supersedes_the_older(self, bank: Bank, wire: Wire) -> None:
        person = await self.sign_up(bank)
        address = address_of(person.username)
        older = await token_mailed_to(bank.stack.mail_dir, address, VERIFY_PAGE)
        await pass_a_minute(bank)
        assert (await wire.call("ResendVerificationEmail", {"email": address})).reply == {}
        newer = await token_mailed_to(bank.stack.mail_dir, address, VERIFY_PAGE, older)
        assert why(await bank.both("VerifyEmail", {"token": older})) == FP
        assert (await wire.call("VerifyEmail", {"token": newer})).code == "OK"

    async def test_one_of_twenty_at_once_wins(self, bank: Bank) -> None:
        person = await self.sign_up(bank)
        token = await token_mailed_to(bank.stack.mail_dir, address_of(person.username), VERIFY_PAGE)
        answers = await asyncio.gather(
            *(bank.wires[number % 2].call("VerifyEmail", {"token": token}) for number in range(20))
        )
        assert sorted(answer.reason for answer in answers) == ["", *["TOKEN_INVALID"] * 19]

    async def test_new_address_waits_for_its_link_and_the_old_one_is_told(self, bank: Bank, wire: Wire) -> None:
        person = await bank.person()
        old, new = address_of(person.username), f"new-{person.username}@example.com"
        fields = {"user_id": "me", "current_password": DEMO_PASSWORD, "new_email": new}
        user = (await wire.call("ChangeEmail", fields, person.token)).reply["user"]
        assert (user["email"], user["email_verified"], user["pending_email"]) == (old, True, new)
        notice = "SELECT count(*) FROM audit_events JOIN outbox ON payload ->> 'audit_event_id' = audit_events.id::text"
        of_person = f"{notice} WHERE user_id = $1 AND details ->> 'old_email' = $2"
        assert await bank.owner.fetchval(of_person, user["id"], old) == 1
        token = await token_mailed_to(bank.stack.mail_dir, new, VERIFY_PAGE)
        user = (await wire.call("VerifyEmail", {"token": token})).reply["user"]
        assert (user["email"], user["email_verified"], user["pending_email"]) == (new, True, "")
        assert await bank.owner.fetchval(of_person, user["id"], old) == 2

    async def test_address_that_another_user_has_proven_is_asked_for_in_vain(self, bank: Bank) -> None:
        owner, thief = await bank.person(), await bank.person()
        fields = {"user_id": "me", "current_password": DEMO_PASSWORD, "new_email": address_of(owner.username)}
        answer = await bank.grpc.call("ChangeEmail", fields, thief.token)
        assert answer.reply["user"]["pending_email"] == address_of(owner.username)
        token = await token_mailed_to(bank.stack.mail_dir, address_of(owner.username), VERIFY_PAGE)
        for wire in bank.wires:
            assert why(await wire.call("VerifyEmail", {"token": token})) == FP
        assert await verified(bank, thief) == (address_of(thief.username), True)
        assert await verified(bank, owner) == (address_of(owner.username), True)
        told = "SELECT count(*) FROM audit_events WHERE user_id = $1 AND type = 'EMAIL_CLAIMED'"
        assert await bank.owner.fetchval(told, owner.user_id) == 1


class TestMailAbuse:
    @pytest.mark.parametrize("rpc", ["ResendVerificationEmail", "RequestPasswordReset"])
    async def test_a_hundred_requests_send_one_mail(self, bank: Bank, rpc: str) -> None:
        username = await bank.sign_up(verified=rpc == "RequestPasswordReset")
        calls = [bank.wires[number % 2].call(rpc, {"email": address_of(username)}) for number in range(100)]
        assert {answer.code for answer in await asyncio.gather(*calls)} == {"OK"}
        assert await mails_to(bank, username) == 1

    @pytest.mark.parametrize("address", BAD_ADDRESSES)
    async def test_what_is_not_one_plain_address_is_refused_everywhere(self, bank: Bank, address: str) -> None:
        person = await bank.person()
        sign_up = {"username": f"u{uuid4().hex[:16]}", "full_name": "Somebody", "password": NEW_PASSWORD}
        fields = {"user_id": "me", "current_password": DEMO_PASSWORD}
        for rpc, request, field in (
            ("CreateUser", {**sign_up, "email": address}, "email"),
            ("ResendVerificationEmail", {"email": address}, "email"),
            ("RequestPasswordReset", {"email": address}, "email"),
            ("ChangeEmail", {**fields, "new_email": address}, "new_email"),
        ):
            answer = await bank.both(rpc, request, person.token)
            assert (why(answer), answer.violated_fields) == (IA, [field]), rpc

    async def test_address_is_not_changed_without_the_password(self, bank: Bank) -> None:
        person = await bank.person()
        for password in ("", "another pass phrase", DEMO_PASSWORD.upper()):
            fields = {"user_id": "me", "current_password": password, "new_email": "thief@example.com"}
            assert why(await bank.both("ChangeEmail", fields, person.token)) == UA
        update = {"user": {"id": "me", "email": "thief@example.com"}, "update_mask": "email"}
        answer = await bank.both("UpdateUser", update, person.token)
        assert (why(answer), answer.violated_fields) == (IA, ["update_mask"])
        assert await verified(bank, person) == (address_of(person.username), True)
        assert await mails_to(bank, person.username) == 0
