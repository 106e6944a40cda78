"""Every type of event, from what really happens, with the facts as they were."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from bank.v1 import account_service_pb2 as accounts
from bank.v1 import transfer_service_pb2 as transfers
from bank.v1 import user_service_pb2 as users
from bank.v1.account_service_pb2_grpc import AccountServiceStub
from bank.v1.event_service_pb2 import Event
from bank.v1.hold_service_pb2 import HoldState
from bank.v1.transfer_service_pb2_grpc import TransferServiceStub
from bank.v1.user_service_pb2_grpc import UserServiceStub
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from server.database import Database
from server.events.messages import PAYLOADS
from server.ledger.movements import UNRESOLVED, Held, Kind, Posted
from server.ledger.writing import release_overdue_holds
from server.tokens import VERIFY_EMAIL, MailTokens
from tests.server.bank import Person, movement
from tests.server.events.conftest import Feed
from worker.schedules import Schedules

PASSWORD = "a password of some length"


class Scene:
    """An admin who is told everything, a banker, and two people with an account each."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.bank = feed.served.bank

    async def begin(self) -> "Scene":
        self.admin = await self.bank.person(roles=("ADMIN", "DEPOSITOR"))
        self.banker = await self.bank.banker()
        self.alice, self.bob = await self.bank.person(), await self.bank.person()
        self.source, self.destination = await self.bank.account(self.alice, 1_000), await self.bank.account(self.bob)
        self.after = str(await self.feed.sequenced())
        return self

    def as_person(self, person: Person) -> Any:
        return self.feed.served.signed_in(person)

    async def told(self, reader: Person | None = None) -> list[Event]:
        """What happened since the scene began."""
        await self.feed.sequenced()
        events, _, _ = await self.feed.list(reader or self.admin, after=self.after, size=200)
        return events

    async def hold(self, amount_minor: int, lasts_s: float = 60) -> UUID:
        expire_time = datetime.now(UTC) + timedelta(seconds=lasts_s)
        placed = await self.bank.ledger.post(
            movement(self.alice, self.source, self.destination, amount_minor, kind=Kind.HOLD, expire_time=expire_time)
        )
        assert isinstance(placed, Held)
        return placed.hold_id

    async def settle(self, kind: Kind, hold_id: UUID, amount_minor: int | None = None) -> Any:
        return await self.bank.ledger.post(
            movement(self.bob, UNRESOLVED, UNRESOLVED, amount_minor, kind=kind, currency_code="", subject_id=hold_id)
        )

    async def schedule(self, amount_minor: int, reference: str = "") -> str:
        request = transfers.CreateScheduledTransferRequest(
            request_id=str(uuid4()),
            source_account_id=str(self.source),
            destination_account_id=str(self.destination),
            amount_minor=amount_minor,
            currency_code="USD",
            reference=reference,
            execute_time=Timestamp(seconds=int(datetime.now(UTC).timestamp()) + 3600),
        )
        stub = TransferServiceStub(self.feed.served.channel)
        created = await stub.CreateScheduledTransfer(request, metadata=self.as_person(self.alice))
        return str(created.scheduled_transfer.id)


@pytest.fixture
async def scene(feed: Feed) -> Scene:
    return await Scene(feed).begin()


def types(events: list[Event]) -> list[str]:
    """Their types; each has the payload of its type."""
    for event in events:
        assert event.WhichOneof("payload") == PAYLOADS[event.type]
    return [event.type for event in events]


class TestUserEvents:
    async def test_facts_name_the_user(self, scene: Scene) -> None:
        stub = UserServiceStub(scene.feed.served.channel)
        created = await stub.CreateUser(
            users.CreateUserRequest(username="Carol", password=PASSWORD, full_name="Carol", email="carol@example.org")
        )
        user_id, as_admin = created.user.id, scene.as_person(scene.admin)
        token_id = await scene.bank.pool.fetchval("SELECT id FROM mail_tokens WHERE user_id = $1", UUID(user_id))
        token = MailTokens(scene.feed.served.keys.mail_token_key).make(VERIFY_EMAIL, token_id, UUID(user_id))
        await stub.VerifyEmail(users.VerifyEmailRequest(token=token))
        roles = [users.Role.ROLE_BANKER]
        await stub.SetUserRoles(users.SetUserRolesRequest(user_id=user_id, roles=roles), metadata=as_admin)
        await stub.DisableUser(users.DisableUserRequest(user_id=user_id), metadata=as_admin)
        await stub.EnableUser(users.EnableUserRequest(user_id=user_id), metadata=as_admin)
        events = await scene.told()
        assert types(events) == [
            *("user.created", "user.verified", "user.roles_changed", "user.disabled", "user.enabled")
        ]
        assert {event.subject_id for event in events} == {user_id}
        assert {getattr(event, PAYLOADS[event.type]).username for event in events} == {"carol"}
        assert [list(getattr(event, PAYLOADS[event.type]).roles) for event in events] == [
            [],
            [],
            [users.Role.ROLE_DEPOSITOR, users.Role.ROLE_BANKER],
            [],
            [],
        ]
        assert await scene.told(scene.alice) == []


class TestAccountEvents:
    async def test_facts_are_those_of_each_moment(self, scene: Scene) -> None:
        stub = AccountServiceStub(scene.feed.served.channel)
        as_alice, as_banker = scene.as_person(scene.alice), scene.as_person(scene.banker)
        created = await stub.CreateAccount(
            accounts.CreateAccountRequest(currency_code="EUR", request_id=str(uuid4())), metadata=as_alice
        )
        account_id = created.account.id
        change = accounts.UpdateAccountRequest(
            account=accounts.Account(id=account_id, display_name="savings"),
            update_mask=FieldMask(paths=["display_name"]),
        )
        await stub.UpdateAccount(change, metadata=as_alice)
        await stub.FreezeAccount(accounts.FreezeAccountRequest(account_id=account_id), metadata=as_banker)
        await stub.UnfreezeAccount(accounts.UnfreezeAccountRequest(account_id=account_id), metadata=as_banker)
        await stub.CloseAccount(accounts.CloseAccountRequest(account_id=account_id), metadata=as_alice)
        events = await scene.told(scene.alice)
        assert types(events) == [
            *("account.created", "account.updated", "account.frozen", "account.unfrozen", "account.closed")
        ]
        facts = [getattr(event, PAYLOADS[event.type]) for event in events]
        assert {(each.account_id, each.owner_user_id, each.currency_code) for each in facts} == {
            (account_id, str(scene.alice.user_id), "EUR")
        }
        states = accounts.AccountState
        assert [each.state for each in facts] == [
            *(states.ACCOUNT_STATE_OPEN, states.ACCOUNT_STATE_OPEN, states.ACCOUNT_STATE_FROZEN),
            *(states.ACCOUNT_STATE_OPEN, states.ACCOUNT_STATE_CLOSED),
        ]
        assert [each.version for each in facts] == sorted(each.version for each in facts)
        assert [list(each.changed_fields) for each in facts] == [[], ["display_name"], [], [], []]
        assert await scene.told(scene.bob) == []


class TestTransferEvents:
    async def test_transfer_is_told_as_it_was_posted(self, scene: Scene) -> None:
        posted = await scene.bank.ledger.post(movement(scene.alice, scene.source, scene.destination, 100))
        assert isinstance(posted, Posted)
        await scene.settle(Kind.REVERSAL, posted.transfer_id, 40)
        for reader in (scene.alice, scene.bob, scene.admin):
            first, second = events = await scene.told(reader)
            assert types(events) == ["transfer.posted", "transfer.reversed"]
            assert first.subject_id == first.transfer_posted.id == str(posted.transfer_id)
            # By now 40 of it were moved back, but not by then.
            assert (first.transfer_posted.amount_minor, first.transfer_posted.reversed_amount_minor) == (100, 0)
            assert second.transfer_reversed.reverses_transfer_id == str(posted.transfer_id)
            assert second.transfer_reversed.amount_minor == 40


class TestHoldEvents:
    async def test_hold_is_told_as_it_was_after_each_event(self, scene: Scene) -> None:
        captured, voided = await scene.hold(100), await scene.hold(50)
        capture = await scene.settle(Kind.CAPTURE, captured, 60)
        await scene.settle(Kind.VOID, voided)
        expired = await scene.hold(10)
        await scene.bank.as_owner("UPDATE holds SET expire_time = now() WHERE id = $1", expired)
        await scene.bank.database.transaction(lambda connection: release_overdue_holds(connection, [scene.source]))
        for reader in (scene.alice, scene.bob):
            events = await scene.told(reader)
            assert sorted(types(events)) == sorted(
                [*("hold.created",) * 3, "hold.captured", "transfer.posted", "hold.voided", "hold.expired"]
            )
            holds = {
                (event.type, event.subject_id): getattr(event, PAYLOADS[event.type])
                for event in events
                if event.type.startswith("hold.")
            }
            created = holds["hold.created", str(captured)]
            assert (created.state, created.amount_minor) == (HoldState.HOLD_STATE_PENDING, 100)
            assert (created.captured_amount_minor, created.capture_transfer_id) == (0, "")
            after = holds["hold.captured", str(captured)]
            assert (after.state, after.captured_amount_minor) == (HoldState.HOLD_STATE_CAPTURED, 60)
            assert after.capture_transfer_id == str(capture.transfer_id)
            assert holds["hold.voided", str(voided)].state == HoldState.HOLD_STATE_VOIDED
            assert holds["hold.expired", str(expired)].state == HoldState.HOLD_STATE_EXPIRED


class TestScheduledTransferEvents:
    async def test_schedule_is_told_as_it_was_after_each_event(self, scene: Scene) -> None:
        canceled, posted, failed = [await scene.schedule(amount) for amount in (1, 2, 5_000)]
        stub = TransferServiceStub(scene.feed.served.channel)
        request = transfers.CancelScheduledTransferRequest(scheduled_transfer_id=canceled)
        await stub.CancelScheduledTransfer(request, metadata=scene.as_person(scene.alice))
        await scene.bank.as_owner("UPDATE scheduled_transfers SET execute_time = now() WHERE state = 'SCHEDULED'")
        await Schedules(Database(scene.bank.pool)).execute_due()
        events = [event for event in await scene.told(scene.alice) if event.type.startswith("scheduled_transfer.")]
        assert types(events)[:4] == [*("scheduled_transfer.created",) * 3, "scheduled_transfer.canceled"]
        assert {event.type: event.subject_id for event in events[3:]} == {
            "scheduled_transfer.canceled": canceled,
            "scheduled_transfer.posted": posted,
            "scheduled_transfer.failed": failed,
        }
        facts = {(event.type.partition(".")[2], event.subject_id): event for event in events}
        states = transfers.ScheduledTransferState
        for schedule_id in (canceled, posted, failed):
            created = facts["created", schedule_id].scheduled_transfer_created
            assert created.state == states.SCHEDULED_TRANSFER_STATE_SCHEDULED
            assert (created.transfer_id, created.failure_reason) == ("", "")
        assert facts["posted", posted].scheduled_transfer_posted.transfer_id
        assert facts["failed", failed].scheduled_transfer_failed.failure_reason == "INSUFFICIENT_FUNDS"
        # The payee is told of the money alone.
        assert types(await scene.told(scene.bob)) == ["transfer.posted"]
