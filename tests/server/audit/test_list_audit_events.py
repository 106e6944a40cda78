"""ListAuditEvents over a real channel: who may read, what is shown, filters and pages."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from bank.v1 import account_service_pb2 as account_pb
from bank.v1 import ledger_service_pb2 as pb
from bank.v1.account_service_pb2_grpc import AccountServiceStub
from bank.v1.ledger_service_pb2_grpc import LedgerServiceStub

from server.audit.operations import CLOCK_SKEW
from server.ledger.time_ordered_ids import time_ordered_id
from server.timestamps import to_proto
from tests.conftest import CloneDatabase
from tests.server.bank import Person
from tests.server.bank_server import Metadata, ServedBank, refusal_of, serving_bank

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
TYPES = ("SIGNED_IN", "SIGN_IN_FAILED", "ROLES_CHANGED")
USERS = (UUID(int=1), UUID(int=2), None)
ACTORS = (UUID(int=1), UUID(int=9), None)


@dataclass(frozen=True)
class Recorded:
    """An event of the past, one a minute."""

    minute: int
    id: UUID
    type: str
    user_id: UUID | None
    actor_user_id: UUID | None


# Every combination, twice.
PAST = [
    Recorded(minute, time_ordered_id(BEGIN + timedelta(minutes=minute), 0), *what)
    for minute, what in enumerate([*product(TYPES, USERS, ACTORS), *product(TYPES, USERS, ACTORS)])
]


@pytest.fixture(scope="module")
async def served(clone_database: CloneDatabase) -> AsyncIterator[ServedBank]:
    async with clone_database() as database, serving_bank(database) as served:
        for event in PAST:
            await insert(served, event)
        yield served


@pytest.fixture(scope="module")
async def admin(served: ServedBank) -> Person:
    return await served.bank.person(roles=("DEPOSITOR", "ADMIN"))


async def insert(served: ServedBank, event: Recorded) -> None:
    await served.bank.pool.execute(
        "INSERT INTO audit_events (id, type, user_id, actor_user_id, client_address, user_agent, trace_id, create_time)"
        " VALUES ($1, $2, $3, $4, '', '', '', $5)",
        event.id,
        event.type,
        event.user_id,
        event.actor_user_id,
        at(event.minute),
    )


def at(minute: float) -> datetime:
    return BEGIN + timedelta(minutes=minute)


def request(event_type: str = "UNSPECIFIED", **fields: Any) -> pb.ListAuditEventsRequest:
    """All of the past, unless other times are given."""
    span = {"start_time": to_proto(BEGIN), "end_time": to_proto(at(len(PAST)))}
    return pb.ListAuditEventsRequest(type=f"AUDIT_EVENT_TYPE_{event_type}", **{**span, **fields})


async def listed(served: ServedBank, admin: Person, wanted: pb.ListAuditEventsRequest) -> pb.ListAuditEventsResponse:
    stub = LedgerServiceStub(served.channel)
    answer: pb.ListAuditEventsResponse = await stub.ListAuditEvents(wanted, metadata=served.signed_in(admin))
    return answer


async def all_pages(served: ServedBank, admin: Person, wanted: pb.ListAuditEventsRequest) -> list[list[pb.AuditEvent]]:
    """Every page in turn."""
    pages, page_token = [], ""
    while not pages or page_token:
        asked = pb.ListAuditEventsRequest(page_token=page_token)
        asked.MergeFrom(wanted)
        answer = await listed(served, admin, asked)
        pages.append(list(answer.audit_events))
        page_token = answer.next_page_token
    return pages


def from_gateway(trace_id: str) -> Metadata:
    """What the gateway adds to a call."""
    return (("x-envoy-external-address", "192.0.2.7"), ("x-request-id", trace_id))


class TestWhatIsShown:
    async def test_event_names_everything_about_its_call(self, served: ServedBank, admin: Person) -> None:
        owner, banker = await served.bank.person(), await served.bank.banker()
        account_id = await served.bank.account(owner)
        before = await served.bank.pool.fetchval("SELECT clock_timestamp()")
        await AccountServiceStub(served.channel).FreezeAccount(
            account_pb.FreezeAccountRequest(account_id=str(account_id)),
            metadata=(*served.signed_in(banker), *from_gateway("trace-of-the-freeze")),
        )
        (event,) = (await listed(served, admin, pb.ListAuditEventsRequest(user_id=str(owner.user_id)))).audit_events
        assert UUID(event.id).version == 7
        assert to_proto(before).seconds <= event.create_time.seconds <= to_proto(before).seconds + 5
        event.ClearField("id")
        event.ClearField("create_time")
        assert event.user_agent.startswith("grpc-python-asyncio/")
        event.ClearField("user_agent")
        assert event == pb.AuditEvent(
            type=pb.AUDIT_EVENT_TYPE_ACCOUNT_FROZEN,
            user_id=str(owner.user_id),
            actor_user_id=str(banker.user_id),
            session_id=str(banker.session_id),
            account_id=str(account_id),
            client_address="192.0.2.7",
            trace_id="trace-of-the-freeze",
            details={"old_state": "OPEN"},
        )

    async def test_refused_change_records_nothing(self, served: ServedBank, admin: Person) -> None:
        owner = await served.bank.person()
        account_id = await served.bank.account(owner, 5)
        stub, own = AccountServiceStub(served.channel), served.signed_in(owner)
        freeze = account_pb.FreezeAccountRequest(account_id=str(account_id))
        assert (await refusal_of(stub.FreezeAccount(freeze, metadata=own))).why[0] == "PERMISSION_DENIED"
        close = account_pb.CloseAccountRequest(account_id=str(account_id))
        assert (await refusal_of(stub.CloseAccount(close, metadata=own))).why[1] == "ACCOUNT_NOT_EMPTY"
        recorded = await listed(served, admin, pb.ListAuditEventsRequest(user_id=str(owner.user_id)))
        assert list(recorded.audit_events) == []

    async def test_nobody_is_empty(self, served: ServedBank, admin: Person) -> None:
        answer = await listed(served, admin, request("SIGNED_IN", start_time=to_proto(at(8)), end_time=to_proto(at(9))))
        (event,) = answer.audit_events
        assert (event.user_id, event.actor_user_id, event.session_id, event.account_id) == ("", "", "", "")
        assert event.id == str(PAST[8].id)


class TestFilters:
    @pytest.mark.parametrize("actor", [None, UUID(int=9), UUID(int=1), uuid4()], ids=str)
    @pytest.mark.parametrize("user", [None, UUID(int=1), uuid4()], ids=str)
    @pytest.mark.parametrize("event_type", ["UNSPECIFIED", "ROLES_CHANGED", "ACCOUNT_CLOSED"])
    @pytest.mark.parametrize("minutes", [(0, len(PAST)), (10, 40), (20, 20)], ids=str)
    async def test_what_fits_all_of_them_is_listed_newest_first(
        self,
        served: ServedBank,
        admin: Person,
        actor: UUID | None,
        user: UUID | None,
        event_type: str,
        minutes: tuple[int, int],
    ) -> None:
        wanted = request(
            event_type,
            user_id=str(user or ""),
            actor_user_id=str(actor or ""),
            start_time=to_proto(at(minutes[0])),
            end_time=to_proto(at(minutes[1])),
            page_size=200,
        )
        expected = [
            str(event.id)
            for event in reversed(PAST)
            if minutes[0] <= event.minute < minutes[1]
            and event_type in ("UNSPECIFIED", event.type)
            and user in (None, event.user_id)
            and actor in (None, event.actor_user_id)
        ]
        answer = await listed(served, admin, wanted)
        assert [event.id for event in answer.audit_events] == expected
        assert answer.next_page_token == ""

    @pytest.mark.parametrize("user", [None, UUID(int=1)], ids=str)
    @pytest.mark.parametrize("actor", [None, UUID(int=1)], ids=str)
    async def test_start_is_included_and_end_is_not(
        self, served: ServedBank, admin: Person, actor: UUID | None, user: UUID | None
    ) -> None:
        who = {"user_id": str(user or ""), "actor_user_id": str(actor or "")}
        _, first, second, third, *_ = [
            event for event in PAST if user in (None, event.user_id) and actor in (None, event.actor_user_id)
        ]
        microsecond = timedelta(microseconds=1)
        for shift, expected in (
            (timedelta(0), [second, first]),
            (microsecond, [third, second]),
            (-microsecond, [second, first]),
        ):
            span = {"start_time": to_proto(at(first.minute) + shift), "end_time": to_proto(at(third.minute) + shift)}
            found = (await listed(served, admin, request(**span, **who))).audit_events
            assert [event.id for event in found] == [str(event.id) for event in expected]

    async def test_me_is_the_admin_who_asks(self, served: ServedBank) -> None:
        admin = await served.bank.person(roles=("DEPOSITOR", "ADMIN"))
        done, suffered = (
            Recorded(90 + number, time_ordered_id(at(90 + number), 0), "ROLES_CHANGED", *who)
            for number, who in enumerate([(USERS[0], admin.user_id), (admin.user_id, USERS[0])])
        )
        for event in (done, suffered):
            await insert(served, event)
        for field, expected in (("actor_user_id", done), ("user_id", suffered)):
            found = (await listed(served, admin, pb.ListAuditEventsRequest(**{field: "me"}))).audit_events
            assert [event.id for event in found] == [str(expected.id)]

    @pytest.mark.parametrize("filtered", [{}, {"user_id": str(UUID(int=7))}, {"actor_user_id": str(UUID(int=7))}])
    async def test_id_of_a_server_whose_clock_is_wrong_is_found_by_the_time(
        self, served: ServedBank, admin: Person, filtered: dict[str, str]
    ) -> None:
        skew = CLOCK_SKEW - timedelta(seconds=1)
        minute = 1_000 + 10 * len(filtered) + 100 * ("user_id" in filtered)
        ids = {time_ordered_id(at(minute) + shift, 0) for shift in (skew, -skew)}
        for id_ in ids:
            await insert(served, Recorded(minute, id_, "SIGNED_IN", UUID(int=7), UUID(int=7)))
        span = {"start_time": to_proto(at(minute)), "end_time": to_proto(at(minute + 1))}
        found = (await listed(served, admin, request(**span, **filtered))).audit_events
        assert {event.id for event in found} == {str(id_) for id_ in ids}


class TestPages:
    @pytest.mark.parametrize("page_size", [1, 7, 54, 55])
    @pytest.mark.parametrize(
        "fields",
        [{}, {"event_type": "SIGN_IN_FAILED"}, {"user_id": str(UUID(int=1))}, {"actor_user_id": str(UUID(int=9))}],
    )
    async def test_every_event_is_on_one_page(
        self, served: ServedBank, admin: Person, page_size: int, fields: dict[str, str]
    ) -> None:
        pages = await all_pages(served, admin, request(page_size=page_size, **fields))
        (whole,) = await all_pages(served, admin, request(page_size=200, **fields))
        assert [event for page in pages for event in page] == whole
        assert {len(page) for page in pages[:-1]} <= {page_size}
        assert 0 < len(pages[-1]) <= page_size
        assert len(whole) in (len(PAST), len(PAST) // 3)

    async def test_event_that_comes_in_between_disturbs_no_page(self, served: ServedBank, admin: Person) -> None:
        wanted = pb.ListAuditEventsRequest(page_size=5, start_time=to_proto(BEGIN))
        first = await listed(served, admin, wanted)
        newest = datetime.now(UTC) + timedelta(minutes=1)
        minute = int((newest - BEGIN) / timedelta(minutes=1))
        await insert(served, Recorded(minute, time_ordered_id(newest, 0), "SIGNED_IN", None, None))
        wanted.page_token = first.next_page_token
        second = await listed(served, admin, wanted)
        assert len(second.audit_events) == 5
        assert max(event.id for event in second.audit_events) < min(event.id for event in first.audit_events)

    async def test_size_has_a_default_and_a_cap(self, served: ServedBank, admin: Person) -> None:
        owner = UUID(int=77)
        for ordinal in range(210):
            event = Recorded(2_000, time_ordered_id(at(2_000), ordinal), "SIGNED_IN", owner, None)
            await insert(served, event)
        for page_size, length in ((0, 50), (1_000, 200), (2**31 - 1, 200)):
            wanted = pb.ListAuditEventsRequest(user_id=str(owner), page_size=page_size)
            assert len((await listed(served, admin, wanted)).audit_events) == length

    async def test_token_is_good_for_its_admin_and_filter_only(self, served: ServedBank, admin: Person) -> None:
        wanted = request(page_size=2)
        page_token = (await listed(served, admin, wanted)).next_page_token
        other_admin = await served.bank.person(roles=("DEPOSITOR", "ADMIN"))
        attempts = [
            (other_admin, request(page_size=2, page_token=page_token)),
            (admin, request("SIGNED_IN", page_token=page_token)),
            (admin, request(user_id=str(UUID(int=1)), page_token=page_token)),
            (admin, request(actor_user_id=str(UUID(int=1)), page_token=page_token)),
            (admin, request(start_time=to_proto(at(1)), page_token=page_token)),
            (admin, request(end_time=to_proto(at(1)), page_token=page_token)),
            (admin, request(page_token=f"{page_token}A")),
            (admin, request(page_token=f"A{page_token[1:]}")),
        ]
        for who, changed in attempts:
            assert (await refusal_of(listed(served, who, changed))).why == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
        assert len((await listed(served, admin, request(page_size=3, page_token=page_token))).audit_events) == 3


class TestRefusals:
    async def test_only_admins_may_read(self, served: ServedBank) -> None:
        call = LedgerServiceStub(served.channel).ListAuditEvents
        assert (await refusal_of(call(request()))).why == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        for roles in (("DEPOSITOR",), ("DEPOSITOR", "MERCHANT"), ("DEPOSITOR", "BANKER")):
            person = await served.bank.person(roles=roles)
            refusal = await refusal_of(call(request(user_id="me"), metadata=served.signed_in(person)))
            assert refusal.why == ("PERMISSION_DENIED", "PERMISSION_DENIED")

    async def test_everything_that_is_wrong_is_named(self, served: ServedBank, admin: Person) -> None:
        wanted = pb.ListAuditEventsRequest(type=999, user_id="alice", actor_user_id="1", page_size=-1)  # type: ignore[arg-type]  # no such value
        wanted.start_time.seconds = -(10**12)
        wanted.end_time.nanos = -1
        refusal = await refusal_of(listed(served, admin, wanted))
        assert refusal.why == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert refusal.fields == ["type", "user_id", "actor_user_id", "start_time", "end_time", "page_size"]
