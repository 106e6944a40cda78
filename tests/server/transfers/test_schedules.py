"""Scheduled transfers on a real database: stored, shown, canceled, and what closing an account sees of them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from bank.v1.transfer_service_pb2 import CreateScheduledTransferRequest, ListScheduledTransfersRequest
from bankdb.accounts import list_open_obligations
from bankdb.models import ScheduledTransfer
from google.protobuf.timestamp_pb2 import Timestamp

from server.caller import Caller, Role
from server.errors import (
    AccountClosed,
    AccountFrozen,
    BankError,
    CurrencyMismatch,
    EmailNotVerified,
    Forbidden,
    InvalidPageToken,
    InvalidRequest,
    NotFound,
    RequestIdReused,
    SameAccount,
    SessionRevoked,
    Unauthenticated,
    UnknownCurrency,
)
from server.page_token import PageTokens
from server.schedule_messages import render_schedule
from server.timestamps import to_proto
from server.transfers.schedules.errors import ScheduleNotPending
from server.transfers.schedules.messages import parse_create_schedule, parse_list_schedules
from server.transfers.schedules.operations import NewSchedule, ScheduleFilter, Schedules
from tests.server.bank import Bank, caller, movement

FIRST_PAGE = ScheduleFilter(account_id=None, state=None, page_size=50, page_token="")


def later(**by: float) -> datetime:
    return datetime.now(UTC) + timedelta(**(by or {"days": 1}))


class Scene:
    """Alice, who has 100, schedules for Bob."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.schedules = Schedules(bank.database, PageTokens(b"k" * 32))

    async def begin(self) -> "Scene":
        self.alice, self.bob = await self.bank.person(), await self.bank.person()
        self.source, self.destination = await self.bank.account(self.alice, 100), await self.bank.account(self.bob)
        return self

    def new(self, amount_minor: int = 10, execute_time: datetime | None = None) -> NewSchedule:
        wanted = movement(self.alice, self.source, self.destination, amount_minor)
        return NewSchedule(wanted, execute_time or later())

    async def stored(self, execute_time: datetime | None = None) -> ScheduledTransfer:
        row, _ = await self.schedules.create(self.new(execute_time=execute_time))
        return row

    async def is_due(self, schedule_id: UUID) -> None:
        """Let its time come, as the owner of the tables can."""
        await self.bank.as_owner(
            "UPDATE scheduled_transfers SET execute_time = clock_timestamp() - interval '1 s' WHERE id = $1",
            schedule_id,
        )

    async def rows(self) -> list[object]:
        return list(await self.bank.pool.fetch("SELECT * FROM scheduled_transfers ORDER BY id"))

    async def events(self, schedule_id: UUID) -> list[str]:
        rows = await self.bank.pool.fetch("SELECT type FROM events WHERE subject_id = $1 ORDER BY id", schedule_id)
        return [row["type"] for row in rows]


@pytest.fixture
async def scene(bank: Bank) -> Scene:
    return await Scene(bank).begin()


class TestCreate:
    async def test_stored_without_looking_at_funds(self, scene: Scene) -> None:
        row, replayed = await scene.schedules.create(scene.new(1_000))
        assert (row.state, row.amount_minor, row.transfer_id, replayed) == ("SCHEDULED", 1_000, None, False)
        assert await scene.bank.posted_minor(scene.source) == 100
        assert await scene.events(row.id) == ["scheduled_transfer.created"]

    async def test_repeated_request_id_returns_the_first(self, scene: Scene) -> None:
        new = scene.new()
        first, _ = await scene.schedules.create(new)
        before = await scene.bank.counts()
        assert await scene.schedules.create(new) == (first, True)
        other = replace(new, movement=new.movement._replace(fingerprint=b"other"))
        with pytest.raises(RequestIdReused):
            await scene.schedules.create(other)
        with pytest.raises(RequestIdReused):
            await scene.bank.ledger.post(new.movement._replace(rpc="test/other"))
        assert await scene.bank.counts() == before

    async def test_many_calls_with_one_request_id_store_one(self, scene: Scene) -> None:
        second = await scene.bank.account(scene.alice)
        new = scene.new()
        elsewhere = replace(new, movement=new.movement._replace(source_id=second))
        results = await asyncio.gather(*(scene.schedules.create((new, elsewhere)[n % 2]) for n in range(8)))
        assert len({row.id for row, _ in results}) == 1
        assert sorted(replayed for _, replayed in results) == [False] + [True] * 7
        assert len(await scene.rows()) == 1

    async def test_refusals_come_in_the_documented_order_and_store_nothing(self, scene: Scene) -> None:
        bank, stranger = scene.bank, await scene.bank.person()
        euros = await bank.account(scene.alice, currency_code="EUR")
        new = scene.new(execute_time=later(days=-1))

        async def refused(changed: NewSchedule, error: type[BankError]) -> None:
            before = await bank.counts(), await scene.rows()
            with pytest.raises(error):
                await scene.schedules.create(changed)
            assert (await bank.counts(), await scene.rows()) == before

        await refused(replace(new, movement=new.movement._replace(session_id=uuid4())), SessionRevoked)
        unverified = await bank.person(verified=False)
        as_unverified = new.movement._replace(
            user_id=unverified.user_id, session_id=unverified.session_id, destination_id=uuid4()
        )
        await refused(replace(new, movement=as_unverified), EmailNotVerified)
        as_stranger = new.movement._replace(user_id=stranger.user_id, session_id=stranger.session_id)
        await refused(replace(new, movement=as_stranger), NotFound)
        await refused(replace(new, movement=new.movement._replace(destination_id=uuid4())), NotFound)
        cash = bank.reference.cash_account("USD")
        await refused(replace(new, movement=new.movement._replace(destination_id=cash)), NotFound)
        await bank.as_owner("UPDATE accounts SET state = 'CLOSED' WHERE id = $1", euros)
        await refused(replace(new, movement=new.movement._replace(destination_id=euros)), AccountClosed)
        await bank.as_owner("UPDATE accounts SET state = 'OPEN' WHERE id = $1", euros)
        await bank.as_owner("UPDATE accounts SET state = 'FROZEN' WHERE id = $1", scene.source)
        await refused(replace(new, movement=new.movement._replace(destination_id=euros)), AccountFrozen)
        await bank.as_owner("UPDATE accounts SET state = 'OPEN' WHERE id = $1", scene.source)
        await refused(replace(new, movement=new.movement._replace(destination_id=euros)), CurrencyMismatch)
        await refused(new, InvalidRequest)
        await refused(replace(new, execute_time=later(days=367)), InvalidRequest)
        await bank.pool.execute("UPDATE users SET disabled = true WHERE id = $1", scene.alice.user_id)
        await refused(new, Unauthenticated)

    async def test_freezing_under_way_is_waited_for(self, scene: Scene) -> None:
        async with scene.bank.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("UPDATE accounts SET state = 'FROZEN' WHERE id = $1", scene.source)
            creating = asyncio.create_task(scene.schedules.create(scene.new()))
            await asyncio.sleep(0.1)
            assert not creating.done()
            await transaction.commit()
        with pytest.raises(AccountFrozen):
            await creating
        assert await scene.rows() == []


class TestCancel:
    async def test_once_canceled_it_stays_so(self, scene: Scene) -> None:
        row = await scene.stored()
        canceled = await scene.schedules.cancel(row.id, caller(scene.alice))
        assert canceled.state == "CANCELED"
        assert await scene.schedules.cancel(row.id, caller(scene.alice)) == canceled
        assert await scene.events(row.id) == ["scheduled_transfer.created", "scheduled_transfer.canceled"]

    async def test_due_one_is_not_canceled(self, scene: Scene) -> None:
        row = await scene.stored()
        await scene.is_due(row.id)
        before = await scene.rows()
        with pytest.raises(ScheduleNotPending) as refused:
            await scene.schedules.cancel(row.id, caller(scene.alice))
        assert refused.value.metadata == {"scheduled_transfer_id": str(row.id), "state": "SCHEDULED"}
        assert await scene.rows() == before

    async def test_failed_one_is_not_canceled(self, scene: Scene) -> None:
        row = await scene.stored()
        await scene.bank.as_owner(
            "UPDATE scheduled_transfers SET state = 'FAILED', failure_reason = 'ACCOUNT_FROZEN' WHERE id = $1", row.id
        )
        with pytest.raises(ScheduleNotPending, match="failed already"):
            await scene.schedules.cancel(row.id, caller(scene.alice))

    async def test_others_are_told_nothing_and_bankers_refused(self, scene: Scene) -> None:
        row = await scene.stored()
        with pytest.raises(NotFound):
            await scene.schedules.cancel(row.id, caller(scene.bob))
        with pytest.raises(NotFound):
            await scene.schedules.cancel(uuid4(), caller(scene.alice))
        with pytest.raises(Forbidden):
            await scene.schedules.cancel(row.id, caller(await scene.bank.banker(), Role.BANKER))
        assert (await scene.schedules.get(row.id, caller(scene.alice))).state == "SCHEDULED"


class TestRead:
    async def test_owner_and_staff_see_it_and_nobody_else(self, scene: Scene) -> None:
        row = await scene.stored()
        assert await scene.schedules.get(row.id, caller(scene.alice)) == row
        assert await scene.schedules.get(row.id, caller(scene.bob, Role.ADMIN)) == row
        with pytest.raises(NotFound):
            await scene.schedules.get(row.id, caller(scene.bob))

    async def test_pages_are_newest_first_and_bound_to_their_list(self, scene: Scene) -> None:
        ids = [(await scene.stored()).id for _ in range(5)]
        wanted = replace(FIRST_PAGE, page_size=2)
        seen = []
        while True:
            rows, token = await scene.schedules.page(wanted, caller(scene.alice))
            seen += [row.id for row in rows]
            if not token:
                break
            with pytest.raises(InvalidPageToken):
                await scene.schedules.page(replace(wanted, page_token=token), caller(scene.bob))
            with pytest.raises(InvalidPageToken):
                await scene.schedules.page(replace(wanted, page_token=token, state="FAILED"), caller(scene.alice))
            wanted = replace(wanted, page_token=token)
        assert seen == ids[::-1]

    async def test_filters_by_account_and_state(self, scene: Scene) -> None:
        kept, canceled = await scene.stored(), await scene.stored()
        await scene.schedules.cancel(canceled.id, caller(scene.alice))

        async def ids(who: Caller, **changes: object) -> list[UUID]:
            rows, _ = await scene.schedules.page(replace(FIRST_PAGE, **changes), who)  # type: ignore[arg-type]
            return [row.id for row in rows]

        alice, bob = caller(scene.alice), caller(scene.bob)
        admin = caller(await scene.bank.person(), Role.ADMIN)
        assert await ids(alice, state="SCHEDULED") == [kept.id]
        assert await ids(alice, account_id=scene.source, state="CANCELED") == [canceled.id]
        assert await ids(bob) == []
        assert await ids(bob, account_id=scene.destination) == []
        assert await ids(admin) == [canceled.id, kept.id]
        assert await ids(admin, account_id=scene.destination) == [canceled.id, kept.id]
        with pytest.raises(NotFound):
            await ids(bob, account_id=scene.source)

    async def test_open_one_binds_the_account_it_shall_debit_and_no_other(self, scene: Scene) -> None:
        row = await scene.stored()
        assert await list_open_obligations(scene.bank.pool, account_id=scene.source) == ["scheduled transfer"]
        assert await list_open_obligations(scene.bank.pool, account_id=scene.destination) == []
        await scene.schedules.cancel(row.id, caller(scene.alice))
        assert await list_open_obligations(scene.bank.pool, account_id=scene.source) == []


class TestMessages:
    def request(self, scene: Scene, **changes: object) -> CreateScheduledTransferRequest:
        fields: dict[str, object] = {
            "request_id": str(uuid4()),
            "source_account_id": str(scene.source),
            "destination_account_id": str(scene.destination),
            "amount_minor": 5,
            "currency_code": "USD",
            "execute_time": to_proto(later()),
        }
        return CreateScheduledTransferRequest(**{**fields, **changes})  # type: ignore[arg-type]

    async def test_all_violations_are_told_at_once(self, scene: Scene) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_create_schedule(CreateScheduledTransferRequest(), caller(scene.alice), "", scene.bank.reference)
        assert [violation.field for violation in refused.value.violations] == [
            *("request_id", "source_account_id", "destination_account_id", "amount_minor", "currency_code"),
            "execute_time",
        ]

    @pytest.mark.parametrize(
        ("changes", "error"),
        [({"currency_code": "ZZZ"}, UnknownCurrency), ({"execute_time": Timestamp(seconds=10**12)}, InvalidRequest)],
        ids=["currency", "time"],
    )
    async def test_wrong_field_is_refused(
        self, scene: Scene, changes: dict[str, object], error: type[BankError]
    ) -> None:
        with pytest.raises(error):
            parse_create_schedule(self.request(scene, **changes), caller(scene.alice), "", scene.bank.reference)

    async def test_one_account_on_both_sides_is_refused(self, scene: Scene) -> None:
        same = self.request(scene, destination_account_id=str(scene.source))
        with pytest.raises(SameAccount):
            parse_create_schedule(same, caller(scene.alice), "", scene.bank.reference)

    async def test_what_was_asked_for_is_shown(self, scene: Scene) -> None:
        request = self.request(scene, description="rent", reference="r1")
        new = parse_create_schedule(request, caller(scene.alice), "", scene.bank.reference)
        row, _ = await scene.schedules.create(new)
        shown = render_schedule(row)
        for field in ("source_account_id", "destination_account_id", "amount_minor", "execute_time", "description"):
            assert getattr(shown, field) == getattr(request, field)
        assert (shown.reference, shown.transfer_id, shown.failure_reason) == ("r1", "", "")

    def test_state_outside_the_enum_is_refused(self) -> None:
        with pytest.raises(InvalidRequest):
            parse_list_schedules(ListScheduledTransfersRequest(state=9))  # type: ignore[arg-type]
