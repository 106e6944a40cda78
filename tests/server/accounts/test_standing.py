"""Settings and states of accounts: who may change them, from what, and what is left behind."""

import asyncio
import json
from collections import Counter
from uuid import UUID, uuid4

import asyncpg
import pytest
from bankdb.accounts import GetAccountRow

from server.accounts.errors import AccountNotEmpty, OverdraftInUse
from server.accounts.standing import AccountStanding, SettingsChange
from server.caller import Role
from server.errors import (
    AccountClosed,
    AccountFrozen,
    BankError,
    DatabaseUnavailable,
    Forbidden,
    InsufficientFunds,
    NotFound,
    SessionRevoked,
    StaleVersion,
    Unauthenticated,
)
from server.ledger.movements import UNRESOLVED, Held, Kind
from tests.server.bank import Bank, Person, caller, movement, running_ledger
from tests.worker.surroundings import eventually


@pytest.fixture
async def banker(bank: Bank) -> Person:
    return await bank.banker()


@pytest.fixture
async def own(bank: Bank, alice: Person) -> UUID:
    return await bank.account(alice)


async def has_paid(bank: Bank, account_id: UUID) -> bool:
    return (await bank.get(account_id)).entry_count > 1


async def events(bank: Bank, account_id: UUID) -> list[tuple[str, object]]:
    rows = await bank.pool.fetch("SELECT type, data FROM events WHERE subject_id = $1 ORDER BY id", account_id)
    return [(row["type"], json.loads(row["data"])) for row in rows]


async def everything(bank: Bank) -> object:
    accounts = await bank.pool.fetch("SELECT * FROM accounts ORDER BY id")
    return await bank.counts(), accounts, await audit_events(bank)


async def audit_events(bank: Bank) -> list[asyncpg.Record]:
    """What was recorded, in its order."""
    return await bank.pool.fetch(
        "SELECT type, user_id, actor_user_id, session_id, account_id, details FROM audit_events ORDER BY id"
    )


async def refused(bank: Bank, attempt: object, error: type[BankError]) -> BankError:
    """The refusal; nothing was changed by it."""
    before = await everything(bank)
    with pytest.raises(error) as caught:
        await attempt  # type: ignore[misc]  # any coroutine
    assert await everything(bank) == before
    return caught.value


class TestUpdate:
    async def test_owner_changes_name_and_labels(
        self, bank: Bank, standing: AccountStanding, alice: Person, own: UUID
    ) -> None:
        before = await bank.get(own)
        change = SettingsChange(own, before.version, display_name="rent", metadata={"colour": "blue"})
        account = await standing.update(change, caller(alice))
        assert (account.display_name, json.loads(account.metadata)) == ("rent", {"colour": "blue"})
        assert (account.version, account.update_time > before.update_time) == (before.version + 1, True)
        facts = {"state": "OPEN", "version": 2, "fields": ["display_name", "metadata"]}
        assert await events(bank, own) == [("account.updated", facts)]

    async def test_field_that_is_not_named_stays(self, standing: AccountStanding, alice: Person, own: UUID) -> None:
        await standing.update(SettingsChange(own, 0, display_name="rent", metadata={"a": "b"}), caller(alice))
        account = await standing.update(SettingsChange(own, 0, metadata={}), caller(alice))
        assert (account.display_name, account.metadata) == ("rent", "{}")

    async def test_change_of_nothing_leaves_the_version(
        self, bank: Bank, standing: AccountStanding, alice: Person, own: UUID
    ) -> None:
        change = SettingsChange(own, 0, display_name="rent")
        first = await standing.update(change, caller(alice))
        assert await standing.update(change, caller(alice)) == first
        assert len(await events(bank, own)) == 1

    async def test_banker_lends(self, bank: Bank, standing: AccountStanding, alice: Person, own: UUID) -> None:
        other = await bank.account(await bank.person())
        with pytest.raises(InsufficientFunds):
            await bank.ledger.post(movement(alice, own, other, 50))
        banker = caller(await bank.banker(), Role.BANKER)
        await standing.update(SettingsChange(own, 0, overdraft_limit_minor=50), banker)
        await bank.ledger.post(movement(alice, own, other, 50))
        assert await bank.posted_minor(own) == -50
        assert await bank.adds_up()

    async def test_stale_version_is_refused(
        self, bank: Bank, standing: AccountStanding, alice: Person, own: UUID
    ) -> None:
        await standing.update(SettingsChange(own, 1, display_name="first"), caller(alice))
        late = standing.update(SettingsChange(own, 1, display_name="second"), caller(alice))
        assert (await refused(bank, late, StaleVersion)).metadata == {"version": "2"}

    async def test_of_many_changes_from_one_version_one_is_made(
        self, bank: Bank, standing: AccountStanding, alice: Person, own: UUID
    ) -> None:
        results = await asyncio.gather(
            *(standing.update(SettingsChange(own, 1, display_name=f"{n}"), caller(alice)) for n in range(10)),
            return_exceptions=True,
        )
        kinds = Counter(type(result) for result in results)
        # On a busy machine some find no connection in time.
        assert kinds.keys() <= {GetAccountRow, StaleVersion, DatabaseUnavailable}
        assert (kinds[GetAccountRow], kinds[StaleVersion] > 0) == (1, True)
        assert (await bank.get(own)).version == 2

    async def test_limit_below_what_is_used_is_refused(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID
    ) -> None:
        lender = caller(banker, Role.BANKER)
        await standing.update(SettingsChange(own, 0, overdraft_limit_minor=100), lender)
        other = await bank.account(await bank.person())
        await bank.ledger.post(movement(alice, own, other, 30))
        held = await bank.ledger.post(movement(alice, own, other, 40, kind=Kind.HOLD))
        lower = standing.update(SettingsChange(own, 0, overdraft_limit_minor=69), lender)
        assert (await refused(bank, lower, OverdraftInUse)).metadata["used_minor"] == "70"
        assert isinstance(held, Held)
        await bank.as_owner("UPDATE holds SET expire_time = now() - interval '1 s' WHERE id = $1", held.hold_id)
        account = await standing.update(SettingsChange(own, 0, overdraft_limit_minor=30), lender)
        assert (account.overdraft_limit_minor, account.held_minor) == (30, 0)

    async def test_settings_are_changed_by_whose_they_are(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID
    ) -> None:
        lends = SettingsChange(own, 0, overdraft_limit_minor=5)
        renames = SettingsChange(own, 0, display_name="mine")
        await refused(bank, standing.update(lends, caller(alice)), Forbidden)
        await refused(bank, standing.update(renames, caller(banker, Role.BANKER)), Forbidden)
        await refused(bank, standing.update(renames, caller(await bank.person())), NotFound)
        absent = SettingsChange(uuid4(), 0, display_name="mine")
        await refused(bank, standing.update(absent, caller(banker, Role.BANKER)), NotFound)
        bankers_own = SettingsChange(await bank.account(banker), 0, overdraft_limit_minor=5)
        await refused(bank, standing.update(bankers_own, caller(banker, Role.BANKER)), Forbidden)

    async def test_closed_account_is_not_changed(
        self, bank: Bank, standing: AccountStanding, alice: Person, own: UUID
    ) -> None:
        await standing.close(own, caller(alice))
        stale = SettingsChange(own, 1, display_name="mine")
        await refused(bank, standing.update(stale, caller(alice)), AccountClosed)


class TestCallerUnderTheLock:
    """A change that waited for the account finds out what became of its caller meanwhile."""

    @pytest.mark.parametrize(
        ("meanwhile", "error"),
        [
            ("UPDATE sessions SET revoke_time = now() WHERE user_id = $1", SessionRevoked),
            ("UPDATE users SET disabled = true WHERE id = $1", Unauthenticated),
            ("UPDATE users SET roles = '{DEPOSITOR}' WHERE id = $1", Forbidden),
        ],
    )
    async def test_lost_right_is_noticed(
        self,
        bank: Bank,
        standing: AccountStanding,
        banker: Person,
        own: UUID,
        meanwhile: str,
        error: type[BankError],
    ) -> None:
        known = caller(banker, Role.BANKER)
        await bank.as_owner(meanwhile, banker.user_id)
        await refused(bank, standing.update(SettingsChange(own, 0, overdraft_limit_minor=1), known), error)
        await refused(bank, standing.freeze(own, known), error)
        await refused(bank, standing.close(own, known), error)


class TestFreeze:
    async def test_states_are_reached_once(
        self, bank: Bank, standing: AccountStanding, banker: Person, own: UUID
    ) -> None:
        by_banker = caller(banker, Role.BANKER)
        for change, state, version in ((standing.freeze, "FROZEN", 2), (standing.unfreeze, "OPEN", 3)):
            for _ in range(2):
                account = await change(own, by_banker)
                assert (account.state, account.version) == (state, version)
        assert [name for name, _ in await events(bank, own)] == ["account.frozen", "account.unfrozen"]

    async def test_only_bankers_and_not_on_their_own(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID
    ) -> None:
        bankers_own = await bank.account(banker)
        for change in (standing.freeze, standing.unfreeze):
            await refused(bank, change(own, caller(alice)), Forbidden)
            await refused(bank, change(bankers_own, caller(banker, Role.BANKER)), Forbidden)
            await refused(bank, change(uuid4(), caller(banker, Role.BANKER)), NotFound)
            cash = bank.reference.cash_account("USD")
            await refused(bank, change(cash, caller(banker, Role.BANKER)), NotFound)

    async def test_closed_account_is_not_frozen(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID
    ) -> None:
        await standing.close(own, caller(alice))
        for change in (standing.freeze, standing.unfreeze):
            await refused(bank, change(own, caller(banker, Role.BANKER)), AccountClosed)

    async def test_no_debit_commits_once_it_has_returned(
        self, bank: Bank, standing: AccountStanding, banker: Person
    ) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100_000), await bank.account(bob)
        stop = asyncio.Event()

        async def spend() -> int:
            spent = 0
            async with running_ledger(bank.url) as ledger:
                while not stop.is_set():
                    try:
                        await ledger.post(movement(alice, source, destination, 1))
                        spent += 1
                    except AccountFrozen:
                        await asyncio.sleep(0.005)
            return spent

        spenders = [asyncio.create_task(spend()) for _ in range(4)]
        await eventually(lambda: has_paid(bank, source))
        await standing.freeze(source, caller(banker, Role.BANKER))
        left = await bank.posted_minor(source)
        await asyncio.sleep(0.2)
        stop.set()
        spent = sum(await asyncio.gather(*spenders))
        assert 0 < spent < 100_000
        assert (left, await bank.posted_minor(source)) == (100_000 - spent, 100_000 - spent)
        assert await bank.adds_up()


class TestClose:
    async def test_owner_and_bankers_close_once(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID
    ) -> None:
        for who in (caller(alice), caller(banker, Role.BANKER)):
            account = await standing.close(own, who)
            assert (account.state, account.version) == ("CLOSED", 2)
        assert await events(bank, own) == [("account.closed", {"state": "CLOSED", "version": 2})]

    async def test_frozen_account_is_closed(
        self, standing: AccountStanding, alice: Person, banker: Person, own: UUID
    ) -> None:
        await standing.freeze(own, caller(banker, Role.BANKER))
        assert (await standing.close(own, caller(alice))).state == "CLOSED"

    async def test_others_do_not_close(self, bank: Bank, standing: AccountStanding, own: UUID, banker: Person) -> None:
        admin = await bank.person(roles=("DEPOSITOR", "ADMIN"))
        await refused(bank, standing.close(own, caller(await bank.person())), NotFound)
        await refused(bank, standing.close(own, caller(admin, Role.ADMIN)), Forbidden)
        await refused(bank, standing.close(uuid4(), caller(banker, Role.BANKER)), NotFound)

    async def test_money_keeps_it_open(self, bank: Bank, standing: AccountStanding, alice: Person) -> None:
        rich = await bank.account(alice, 7)
        refusal = await refused(bank, standing.close(rich, caller(alice)), AccountNotEmpty)
        assert refusal.metadata == {"account_id": str(rich), "posted_minor": "7", "obligations": ""}

    async def test_debt_keeps_it_open(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID
    ) -> None:
        await standing.update(SettingsChange(own, 0, overdraft_limit_minor=10), caller(banker, Role.BANKER))
        await bank.ledger.post(movement(alice, own, await bank.account(banker), 10))
        assert isinstance(await refused(bank, standing.close(own, caller(alice)), AccountNotEmpty), AccountNotEmpty)

    @pytest.mark.parametrize("side", ["source", "destination"])
    async def test_pending_hold_on_either_side_keeps_it_open(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID, side: str
    ) -> None:
        bob = await bank.person()
        other = await bank.account(bob, 10)
        if side == "source":
            await standing.update(SettingsChange(own, 0, overdraft_limit_minor=10), caller(banker, Role.BANKER))
            held = await bank.ledger.post(movement(alice, own, other, 10, kind=Kind.HOLD))
        else:
            held = await bank.ledger.post(movement(bob, other, own, 10, kind=Kind.HOLD))
        refusal = await refused(bank, standing.close(own, caller(alice)), AccountNotEmpty)
        assert refusal.metadata["obligations"] == "hold"
        assert isinstance(held, Held)
        settled = movement(banker, UNRESOLVED, UNRESOLVED, None, kind=Kind.VOID, subject_id=held.hold_id)
        await bank.ledger.post(settled)
        assert (await standing.close(own, caller(alice))).state == "CLOSED"

    @pytest.mark.parametrize("side", ["source", "destination"])
    async def test_overdue_hold_does_not(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID, side: str
    ) -> None:
        bob = await bank.person()
        other = await bank.account(bob, 10)
        if side == "source":
            await standing.update(SettingsChange(own, 0, overdraft_limit_minor=10), caller(banker, Role.BANKER))
            await bank.ledger.post(movement(alice, own, other, 10, kind=Kind.HOLD))
        else:
            await bank.ledger.post(movement(bob, other, own, 10, kind=Kind.HOLD))
        await bank.as_owner("UPDATE holds SET expire_time = now() - interval '1 s'")
        assert (await standing.close(own, caller(alice))).state == "CLOSED"
        assert await bank.adds_up()

    async def test_credits_racing_with_it_find_it_open_or_closed(
        self, bank: Bank, standing: AccountStanding, alice: Person, own: UUID
    ) -> None:
        bob = await bank.person()
        other = await bank.account(bob, 100)
        payments = [bank.ledger.post(movement(bob, other, own, 1)) for _ in range(20)]
        closings = [standing.close(own, caller(alice)) for _ in range(3)]
        results = await asyncio.gather(*payments, *closings, return_exceptions=True)
        unexpected = [
            r for r in results if isinstance(r, Exception) and not isinstance(r, (AccountClosed, AccountNotEmpty))
        ]
        assert unexpected == []
        account = await bank.get(own)
        assert account.state == "OPEN" or account.posted_minor == 0
        assert await bank.adds_up()


class TestAudit:
    """Every change that a banker makes, or that ends an account, is recorded with it; others are not."""

    async def test_each_change_of_the_state_is_recorded_once(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID
    ) -> None:
        by_banker = caller(banker, Role.BANKER)
        for change in (standing.freeze, standing.freeze, standing.unfreeze, standing.unfreeze):
            await change(own, by_banker)
        for _ in range(2):
            await standing.close(own, caller(alice))
        assert [(row["type"], json.loads(row["details"])) for row in await audit_events(bank)] == [
            ("ACCOUNT_FROZEN", {"old_state": "OPEN"}),
            ("ACCOUNT_UNFROZEN", {"old_state": "FROZEN"}),
            ("ACCOUNT_CLOSED", {"old_state": "OPEN"}),
        ]

    async def test_owner_account_actor_and_their_session_are_named(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID
    ) -> None:
        await standing.freeze(own, caller(banker, Role.BANKER))
        await standing.close(own, caller(alice))
        assert [tuple(row)[1:5] for row in await audit_events(bank)] == [
            (alice.user_id, banker.user_id, banker.session_id, own),
            (alice.user_id, alice.user_id, alice.session_id, own),
        ]

    async def test_overdraft_limit_is_recorded_with_what_it_was(
        self, bank: Bank, standing: AccountStanding, alice: Person, banker: Person, own: UUID
    ) -> None:
        for limit_minor in (50, 50, 20):
            await standing.update(
                SettingsChange(own, 0, overdraft_limit_minor=limit_minor), caller(banker, Role.BANKER)
            )
        recorded = await audit_events(bank)
        assert [tuple(row)[:5] for row in recorded] == [
            ("OVERDRAFT_LIMIT_CHANGED", alice.user_id, banker.user_id, banker.session_id, own)
        ] * 2
        assert [json.loads(row["details"]) for row in recorded] == [
            {"currency_code": "USD", "old_overdraft_limit_minor": old, "overdraft_limit_minor": new}
            for old, new in (("0", "50"), ("50", "20"))
        ]

    async def test_settings_of_the_owner_are_not_recorded(
        self, bank: Bank, standing: AccountStanding, alice: Person, own: UUID
    ) -> None:
        await standing.update(SettingsChange(own, 0, display_name="rent", metadata={"a": "b"}), caller(alice))
        assert await audit_events(bank) == []

    async def test_change_that_cannot_be_recorded_is_not_made(
        self, bank: Bank, standing: AccountStanding, banker: Person, own: UUID
    ) -> None:
        await bank.as_owner("REVOKE INSERT ON audit_events FROM bank_app")
        before = await everything(bank)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await standing.freeze(own, caller(banker, Role.BANKER))
        assert await everything(bank) == before
