"""Payees found by name over a real channel, and what is shown of their names."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from bank.v1 import account_service_pb2 as pb
from bank.v1.account_service_pb2_grpc import AccountServiceStub
from google.rpc.error_details_pb2 import ResourceInfo, RetryInfo

from server.accounts.payees import masked
from tests.server.bank import Bank, Person
from tests.server.bank_server import Refusal, ServedBank, refusal_of

INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
NOT_FOUND = ("NOT_FOUND", "NOT_FOUND")
LIMITED = ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
AN_HOUR = 120
"""Look-ups that a user has, by default."""


@pytest.fixture(scope="module")
def bank(served: ServedBank) -> Bank:
    return served.bank


@pytest.fixture(scope="module")
def stub(served: ServedBank) -> AccountServiceStub:
    return AccountServiceStub(served.channel)


def name_of(person: Person) -> str:
    return f"u{person.user_id.hex[:12]}"


def asking(username: str, currency_code: str = "USD") -> pb.GetPayeeRequest:
    return pb.GetPayeeRequest(username=username, currency_code=currency_code)


async def findable(bank: Bank, full_name: str = "Bob van Example") -> Person:
    """Somebody who wants to be found, without an account."""
    person = await bank.person()
    change = "UPDATE users SET payable_by_name = true, full_name = $2 WHERE id = $1"
    await bank.pool.execute(change, person.user_id, full_name)
    return person


async def state(bank: Bank, account_id: UUID, state: str) -> None:
    await bank.pool.execute("UPDATE accounts SET state = $2 WHERE id = $1", account_id, state)


class TestGetPayee:
    async def test_who_wants_to_be_found_is_found_with_little_of_their_name(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        bob, alice = await findable(bank), served.signed_in(await bank.person())
        account_id = await bank.account(bob)
        expected = pb.Payee(
            username=name_of(bob), masked_name="B… v… E…", account_id=str(account_id), currency_code="USD"
        )
        for username in (name_of(bob), name_of(bob).upper()):
            assert (await stub.GetPayee(asking(username), metadata=alice)).payee == expected

    async def test_account_is_the_oldest_open_one_in_the_currency(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        bob, alice = await findable(bank), served.signed_in(await bank.person())
        dollars = sorted([await bank.account(bob) for _ in range(4)])
        euros = await bank.account(bob, currency_code="EUR")
        await state(bank, dollars[0], "CLOSED")
        await state(bank, dollars[1], "FROZEN")
        for currency_code, account_id in (("USD", dollars[2]), ("EUR", euros)):
            payee = (await stub.GetPayee(asking(name_of(bob), currency_code), metadata=alice)).payee
            assert (payee.account_id, payee.currency_code) == (str(account_id), currency_code)

    async def test_nobody_else_is_told_from_a_name_that_nobody_has(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        metadata = (*served.signed_in(await bank.person()), ("x-request-id", "trace"))
        hidden, disabled, penniless, closed = await bank.person(), *[await findable(bank) for _ in range(3)]
        for person in (hidden, disabled):
            await bank.account(person)
        await bank.account(penniless, currency_code="EUR")
        await state(bank, await bank.account(closed), "CLOSED")
        await state(bank, await bank.account(closed), "FROZEN")
        await bank.pool.execute("UPDATE users SET disabled = true WHERE id = $1", disabled.user_id)
        answers = set()
        for username in ("nobody-has-it", *map(name_of, (hidden, disabled, penniless, closed))):
            refused = await refusal_of(stub.GetPayee(asking(username), metadata=metadata))
            assert refused.why == NOT_FOUND
            assert refused.detail(ResourceInfo) == ResourceInfo(resource_type="payee", resource_name=username)
            answers.add(
                refused.status.SerializeToString(deterministic=True).replace(username.encode(), b"NAME-OF-WHOM-")
            )
        # The one name has as many characters as the others.
        assert len(answers) == 1

    async def test_refusals_come_in_the_documented_order_and_write_nothing(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        bob, unverified = await findable(bank), await bank.person(verified=False)
        await bank.account(bob)
        before = await bank.counts()

        async def refused(person: Person, username: str, currency_code: str = "USD") -> Refusal:
            return await refusal_of(stub.GetPayee(asking(username, currency_code), metadata=served.signed_in(person)))

        for wrong in ("", "bo", "Alicé", "bob\n", "b" * 33, "me; --"):
            answer = await refused(unverified, wrong, "")
            assert (answer.why, answer.fields) == (INVALID, ["username", "currency_code"])
        assert (await refused(unverified, name_of(bob), "XAU")).why == ("INVALID_ARGUMENT", "UNKNOWN_CURRENCY")
        for username in (name_of(bob), "nobody"):
            answer = await refused(unverified, username)
            assert answer.why == ("FAILED_PRECONDITION", "EMAIL_NOT_VERIFIED")
        anonymous = await refusal_of(stub.GetPayee(asking(name_of(bob))))
        assert anonymous.why == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert await bank.counts() == before
        counted = "SELECT count(*) FROM rate_limits WHERE subject = $1"
        assert await bank.pool.fetchval(counted, str(unverified.user_id)) == 0

    async def test_who_asks_too_often_is_told_nothing_for_a_while_and_others_go_on(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        bob, alice, carol = await findable(bank), await bank.person(), await bank.person()
        await bank.account(bob)

        async def ask(person: Person, username: str) -> Any:
            return await stub.GetPayee(asking(username), metadata=served.signed_in(person))

        # Found or not, each is counted.
        tries = (ask(alice, (name_of(bob), "nobody")[number % 2]) for number in range(AN_HOUR + 40))
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        codes = Counter(outcome.code().name if isinstance(outcome, Exception) else "OK" for outcome in outcomes)
        assert codes["RESOURCE_EXHAUSTED"] >= 39
        assert codes["OK"] + codes["NOT_FOUND"] in (AN_HOUR, AN_HOUR + 1)
        answers = set()
        for username in (name_of(bob), "nobody"):
            refused = await refusal_of(ask(alice, username))
            assert refused.why == LIMITED
            assert 0 < refused.detail(RetryInfo).retry_delay.ToTimedelta().total_seconds() <= 3600 / AN_HOUR
            answers.add((refused.status.message, str(refused.metadata)))
        assert len(answers) == 1
        assert (await ask(carol, name_of(bob))).payee.username == name_of(bob)


class TestMasked:
    @pytest.mark.parametrize(
        ("full_name", "shown"),
        [
            ("Alice", "A…"),
            ("Alice Liddell", "A… L…"),
            ("Zoë van  Dam", "Z… v… D…"),
            ("J R R Tolkien", "J… R… R… T…"),
            ("J", "J…"),
            ("山田", "山…"),
            ("Ølga Ñuñez", "Ø… Ñ…"),
            ("Ngũgĩ wa Thiong'o", "N… w… T…"),
            ("g\u0303arcia", "g\u0303…"),  # a letter that has no composed form
            ("ก\u0e33ธร", "ก…"),
            ("क\u094dषमा", "क\u094d…"),
            ("\U0001f469\u200d\U0001f469\u200d\U0001f467x", "\U0001f469\u200d\U0001f469\u200d\U0001f467…"),
            ("\u200b\u0301Alice", "A…"),
            ("(Bob) 'the' -builder-", "B… t… b…"),
            ("3 Amigos", "3… A…"),
            ("- Bob .", "B…"),
            ("...", "…"),
            ("\u200b", "…"),
            ("", "…"),
            (" ", "…"),
        ],
    )
    def test_each_word_is_cut_to_its_first_letter(self, full_name: str, shown: str) -> None:
        assert masked(full_name) == shown

    def test_names_of_any_length_look_alike(self) -> None:
        assert masked("Bo Li") == masked("Bartholomew Lighthouse-Keeper")
