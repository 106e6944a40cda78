"""The proof that the ledger adds up notices every way in which it may not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from server.database import Database, open_pool
from server.ledger.movements import Posted
from server.ledger.verification import DIFFERENCES_MAX, VERIFY_TIMEOUT_S, Difference, Rule, verify
from tests.conftest import Database as MigratedDatabase
from tests.conftest import PostgresServer
from tests.db.migrations import superuser_url
from tests.server.bank import Bank, Person, movement

Break = Callable[..., Awaitable[Any]]


class Scene:
    """A ledger that adds up: alice paid bob 30 of her 100."""

    def __init__(self, alice: Person, source: UUID, destination: UUID, posted: Posted, break_by: Break) -> None:
        self.alice = alice
        self.source = source
        self.destination = destination
        self.posted = posted
        self.break_by = break_by
        """Runs SQL that no constraint, key or privilege stops."""


@pytest.fixture
async def scene(bank: Bank, database: MigratedDatabase, postgres: PostgresServer) -> AsyncIterator[Scene]:
    alice, bob = await bank.person(), await bank.person()
    source, destination = await bank.account(alice, 100), await bank.account(bob)
    posted = await bank.ledger.post(movement(alice, source, destination, 30))
    assert isinstance(posted, Posted)
    superuser = await asyncpg.connect(superuser_url(postgres, database.owner_url))
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute("ALTER TABLE accounts DROP CONSTRAINT accounts_available_minor_not_negative")
    yield Scene(alice, source, destination, posted, superuser.execute)
    await superuser.close()


async def differences(bank: Bank) -> set[Difference]:
    return set((await verify(bank.database)).differences)


class TestConsistent:
    async def test_empty_ledger_adds_up(self, bank: Bank) -> None:
        verdict = await verify(bank.database)
        assert verdict.differences == []
        assert (verdict.counts.transfer_count, verdict.counts.entry_count) == (0, 0)
        assert verdict.counts.account_count == await bank.pool.fetchval("SELECT count(*) FROM accounts")

    async def test_what_was_checked_is_counted(self, bank: Bank, scene: Scene) -> None:
        verdict = await verify(bank.database)
        assert verdict.differences == []
        assert (verdict.counts.transfer_count, verdict.counts.entry_count) == (2, 4)

    async def test_busy_ledger_adds_up_at_every_instant_and_is_not_held_up(self, bank: Bank) -> None:
        people = [await bank.person() for _ in range(4)]
        accounts = [await bank.account(person, 10_000) for person in people]
        posted = 0

        async def keep_paying(number: int) -> None:
            nonlocal posted
            while True:
                await bank.ledger.post(movement(people[number], accounts[number], accounts[(number + 1) % 4], 1))
                posted += 1

        payers = [asyncio.create_task(keep_paying(number)) for number in range(4)]
        seen = []
        for _ in range(5):
            before = posted
            verdict = await verify(bank.database)
            assert verdict.differences == []
            seen.append(verdict.counts.transfer_count)
            await asyncio.sleep(0.05)
            assert posted > before
        for payer in payers:
            payer.cancel()
        assert seen == sorted(set(seen))

    async def test_every_rule_is_checked_on_the_ledger_of_one_instant(self, bank: Bank, scene: Scene) -> None:
        """The first check is let through, the others are held up until the ledger is another one."""
        await scene.break_by("BEGIN; LOCK TABLE entries")
        checking = asyncio.create_task(verify(bank.database))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'entries'::regclass"
        async with asyncio.timeout(15):
            while not await bank.pool.fetchval(waiting):
                await asyncio.sleep(0.01)
        await scene.break_by("UPDATE accounts SET posted_minor = posted_minor + 5 WHERE id = $1", scene.destination)
        await scene.break_by("COMMIT")
        assert (await checking).differences == []
        assert len(await differences(bank)) == 2


class TestDifferences:
    async def test_balance_that_is_not_the_sum_of_entries(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by("UPDATE accounts SET posted_minor = posted_minor + 5 WHERE id = $1", scene.destination)
        assert await differences(bank) == {
            Difference(Rule.ZERO_SUM, "USD", 0, 5),
            Difference(Rule.BALANCE, str(scene.destination), 30, 35),
        }

    async def test_money_shifted_between_accounts_keeps_the_sum_and_is_noticed(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by("UPDATE accounts SET posted_minor = posted_minor + 5 WHERE id = $1", scene.destination)
        await scene.break_by("UPDATE accounts SET posted_minor = posted_minor - 5 WHERE id = $1", scene.source)
        assert await differences(bank) == {
            Difference(Rule.BALANCE, str(scene.destination), 30, 35),
            Difference(Rule.BALANCE, str(scene.source), 70, 65),
        }

    async def test_sums_are_told_for_each_currency(self, bank: Bank, scene: Scene) -> None:
        euros = await bank.account(scene.alice, currency_code="EUR")
        await scene.break_by("UPDATE accounts SET posted_minor = -5 WHERE id = $1", euros)
        await scene.break_by("UPDATE accounts SET posted_minor = posted_minor + 5 WHERE id = $1", scene.source)
        assert await differences(bank) >= {
            Difference(Rule.ZERO_SUM, "EUR", 0, -5),
            Difference(Rule.ZERO_SUM, "USD", 0, 5),
        }

    async def test_broken_chain_of_balances(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by(
            "UPDATE entries SET balance_after_minor = 71 WHERE account_id = $1 AND sequence = 2", scene.source
        )
        assert await differences(bank) == {Difference(Rule.BALANCE_CHAIN, str(scene.source), 70, 71)}

    async def test_chain_that_does_not_begin_at_zero(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by(
            "UPDATE entries SET balance_after_minor = balance_after_minor + 1 WHERE account_id = $1", scene.source
        )
        assert await differences(bank) == {Difference(Rule.BALANCE_CHAIN, str(scene.source), 100, 101)}

    async def test_gap_in_the_sequence(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by("UPDATE entries SET sequence = 3 WHERE account_id = $1 AND sequence = 2", scene.source)
        await scene.break_by("UPDATE transfers SET source_sequence = 3 WHERE id = $1", scene.posted.transfer_id)
        assert await differences(bank) == {Difference(Rule.SEQUENCE, str(scene.source), 2, 2)}

    async def test_count_that_is_not_the_number_of_entries(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by("UPDATE accounts SET entry_count = 3 WHERE id = $1", scene.source)
        assert await differences(bank) == {Difference(Rule.SEQUENCE, str(scene.source), 3, 2)}

    async def test_lost_entry(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by("DELETE FROM entries WHERE account_id = $1", scene.destination)
        assert await differences(bank) == {
            Difference(Rule.BALANCE, str(scene.destination), 0, 30),
            Difference(Rule.SEQUENCE, str(scene.destination), 1, 0),
            Difference(Rule.TWO_ENTRIES, str(scene.posted.transfer_id), 2, 1),
        }

    async def test_lost_transfer_leaves_orphans(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by("DELETE FROM transfers WHERE id = $1", scene.posted.transfer_id)
        assert await differences(bank) == {Difference(Rule.TWO_ENTRIES, str(scene.posted.transfer_id), 2, 4)}

    async def test_entries_of_an_account_that_does_not_exist(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by("DELETE FROM accounts WHERE id = $1", scene.destination)
        assert await differences(bank) == {
            Difference(Rule.ZERO_SUM, "USD", 0, -30),
            Difference(Rule.BALANCE, str(scene.destination), 30, 0),
            Difference(Rule.SEQUENCE, str(scene.destination), 0, 1),
        }

    async def test_transfer_of_another_amount_than_its_entries(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by("UPDATE transfers SET amount_minor = 31 WHERE id = $1", scene.posted.transfer_id)
        assert await differences(bank) == {Difference(Rule.TWO_ENTRIES, str(scene.posted.transfer_id), 2, 0)}

    async def test_third_entry_of_a_transfer(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by(
            "INSERT INTO entries SELECT account_id, 3, transfer_id, amount_minor, 40, create_time FROM entries"
            " WHERE account_id = $1 AND sequence = 2",
            scene.source,
        )
        await scene.break_by("UPDATE accounts SET entry_count = 3, posted_minor = 40 WHERE id = $1", scene.source)
        assert await differences(bank) == {
            Difference(Rule.ZERO_SUM, "USD", 0, -30),
            Difference(Rule.TWO_ENTRIES, str(scene.posted.transfer_id), 2, 3),
        }

    async def test_account_below_its_limit(self, bank: Bank, scene: Scene) -> None:
        await scene.break_by(
            "UPDATE accounts SET held_minor = 90, overdraft_limit_minor = 19 WHERE id = $1", scene.source
        )
        assert await differences(bank) == {
            Difference(Rule.LIMIT, str(scene.source), 71, 70),
            Difference(Rule.HELD, str(scene.source), 0, 90),
        }

    async def test_captured_amount_that_no_transfer_moved(self, bank: Bank, scene: Scene) -> None:
        hold_id = uuid4()
        await scene.break_by(
            "INSERT INTO holds (id, source_account_id, destination_account_id, amount_minor, currency_code,"
            " creator_user_id, state, captured_amount_minor, capture_transfer_id, expire_time, create_time,"
            " update_time)"
            " SELECT $1, source_account_id, destination_account_id, 5, 'USD', initiator_user_id, 'CAPTURED', 5, id,"
            " now(), now(), now() FROM transfers LIMIT 1",
            hold_id,
        )
        assert await differences(bank) == {Difference(Rule.CAPTURE, str(hold_id), 0, 5)}

    async def test_reversed_total_without_its_reversals(self, bank: Bank, scene: Scene) -> None:
        transfer_id = await bank.pool.fetchval("SELECT id FROM transfers ORDER BY id LIMIT 1")
        await scene.break_by("INSERT INTO reversed_totals (transfer_id, amount_minor) VALUES ($1, 1)", transfer_id)
        assert await differences(bank) == {Difference(Rule.REVERSAL, str(transfer_id), 0, 1)}

    async def test_sum_beyond_an_integer_is_told_as_the_nearest_one(self, bank: Bank, scene: Scene) -> None:
        for number in range(3):
            await scene.break_by(
                "INSERT INTO accounts (id, owner_user_id, currency_code, posted_minor)"
                " VALUES ($1, $2, 'USD', 4000000000000000000)",
                UUID(int=number),
                scene.alice.user_id,
            )
        assert Difference(Rule.ZERO_SUM, "USD", 0, 2**63 - 1) in await differences(bank)

    async def test_no_more_than_the_limit_is_told(self, bank: Bank, scene: Scene) -> None:
        for _ in range(DIFFERENCES_MAX + 10):
            await scene.break_by(
                "INSERT INTO accounts (id, owner_user_id, currency_code, entry_count) VALUES ($1, $2, 'USD', 1)",
                uuid4(),
                scene.alice.user_id,
            )
        await scene.break_by("UPDATE accounts SET held_minor = 1000 WHERE id = $1", scene.source)
        found = (await verify(bank.database)).differences
        assert [difference.rule for difference in found] == [Rule.SEQUENCE] * DIFFERENCES_MAX

    @pytest.mark.long
    async def test_ledger_that_takes_longer_than_an_ordinary_statement_is_checked(
        self, bank: Bank, scene: Scene
    ) -> None:
        await scene.break_by("ALTER TABLE accounts RENAME TO stored")
        await scene.break_by(
            "CREATE VIEW accounts AS SELECT stored.* FROM stored CROSS JOIN (SELECT pg_sleep(6.5)) AS slow"
        )
        await scene.break_by("GRANT SELECT ON accounts TO bank_app")
        patient = Database(await open_pool(bank.url, size=1, statement_timeout_s=VERIFY_TIMEOUT_S))
        assert (await verify(patient)).differences == []
        await patient.close()
