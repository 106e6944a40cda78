"""bank.v1.WebhookService over a real channel."""

import base64
import socket
from collections.abc import Awaitable, Callable, Iterator
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
from bank.v1 import webhook_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import RetryInfo

from server.webhooks.operations import EARLIER_SECRETS_TTL_S, LIVE_SECRETS_MAX, WEBHOOKS_MAX
from server.webhooks.secrets import WebhookSecrets
from server.webhooks.targets import LOOKUP_TIMEOUT_S
from tests.server.bank_server import refusal_of
from tests.server.webhooks.conftest import URL, Desk

INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
NOT_FOUND = ("NOT_FOUND", "NOT_FOUND")
ABSENT = "018f6b3e-5a1c-7c3d-9a57-0242ac120002"


async def why(call: Awaitable[object]) -> tuple[str, str]:
    return (await refusal_of(call)).why


def change(webhook_id: str, *paths: str, **values: Any) -> pb.UpdateWebhookRequest:
    return pb.UpdateWebhookRequest(
        webhook=pb.Webhook(id=webhook_id, **values), update_mask=FieldMask(paths=paths or list(values))
    )


class TestCreateWebhook:
    async def test_secret_is_shown_once_and_stored_encrypted(self, desk: Desk) -> None:
        created = await desk.create(types=["transfer.posted", "hold.created", "transfer.posted"])
        webhook = created.webhook
        assert (webhook.url, webhook.description, webhook.enabled) == (URL, "shop", True)
        assert list(webhook.types) == ["hold.created", "transfer.posted"]
        assert not webhook.everybodys
        prefix, _, encoded = created.secret.partition("_")
        secret = base64.b64decode(encoded)
        assert (prefix, len(secret)) == ("whsec", 32)
        rows = await desk.bank.pool.fetch("SELECT * FROM webhook_secrets")
        assert [str(row["webhook_id"]) for row in rows] == [webhook.id]
        assert secret not in rows[0]["ciphertext"]
        box = WebhookSecrets(desk.served.keys.webhook_key)
        assert box.open([rows[0]["ciphertext"]], UUID(webhook.id)) == [secret]
        got = await desk.stub.GetWebhook(pb.GetWebhookRequest(webhook_id=webhook.id), metadata=desk.as_alice)
        assert got.webhook == webhook

    async def test_repeated_request_id_shows_the_webhook_as_it_is_and_no_secret(self, desk: Desk) -> None:
        request = desk.new()
        first = await desk.stub.CreateWebhook(request, metadata=desk.as_alice)
        changed = await desk.stub.UpdateWebhook(change(first.webhook.id, description="new"), metadata=desk.as_alice)
        again = await desk.stub.CreateWebhook(request, metadata=desk.as_alice)
        assert again == pb.CreateWebhookResponse(webhook=changed.webhook, secret="", replayed=True)
        assert await desk.bank.pool.fetchval("SELECT count(*) FROM webhooks") == 1

    async def test_request_id_with_other_fields_is_refused(self, desk: Desk) -> None:
        request_id = str(uuid4())
        await desk.create(request_id=request_id)
        before = await desk.everything()
        for other in ({"url": URL + "/2"}, {"types": ["hold.created"]}, {"description": "x"}):
            call = desk.stub.CreateWebhook(desk.new(request_id=request_id, **other), metadata=desk.as_alice)
            assert await why(call) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        assert await desk.everything() == before

    async def test_repeat_after_the_webhook_was_deleted_finds_nothing(self, desk: Desk) -> None:
        request = desk.new()
        created = await desk.stub.CreateWebhook(request, metadata=desk.as_alice)
        await desk.stub.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=created.webhook.id), metadata=desk.as_alice)
        assert await why(desk.stub.CreateWebhook(request, metadata=desk.as_alice)) == NOT_FOUND

    async def test_all_that_is_wrong_is_told_at_once(self, desk: Desk) -> None:
        before = await desk.everything()
        request = pb.CreateWebhookRequest(url="ftp://x", types=["transfer.lost"], description="a\nb")
        refusal = await refusal_of(desk.stub.CreateWebhook(request, metadata=desk.as_alice))
        assert refusal.why == INVALID
        assert refusal.fields == ["request_id", "url", "types", "description"]
        assert await desk.everything() == before

    async def test_host_without_address_is_refused_and_the_id_stays_usable(self, desk: Desk) -> None:
        before = await desk.everything()
        request_id = str(uuid4())
        wrong = desk.new(request_id=request_id, url="http://no..address/")
        refusal = await refusal_of(desk.stub.CreateWebhook(wrong, metadata=desk.as_alice))
        assert (refusal.why, refusal.fields) == (INVALID, ["url"])
        assert await desk.everything() == before
        assert not (await desk.create(request_id=request_id)).replayed

    async def test_unverified_user_is_refused_before_the_request_id_is_looked_at(self, desk: Desk) -> None:
        request = desk.new()
        await desk.stub.CreateWebhook(request, metadata=desk.as_alice)
        await desk.bank.pool.execute("UPDATE users SET email_verified = false")
        before = await desk.everything()
        call = desk.stub.CreateWebhook(request, metadata=desk.as_alice)
        assert await why(call) == ("FAILED_PRECONDITION", "EMAIL_NOT_VERIFIED")
        assert await desk.everything() == before

    async def test_one_more_than_the_most_is_refused_until_one_is_deleted(self, desk: Desk) -> None:
        created = [await desk.create() for _ in range(WEBHOOKS_MAX)]
        before = await desk.everything()
        refusal = await refusal_of(desk.stub.CreateWebhook(desk.new(), metadata=desk.as_alice))
        assert refusal.why == ("FAILED_PRECONDITION", "TOO_MANY_WEBHOOKS")
        assert refusal.metadata == {"count_max": str(WEBHOOKS_MAX)}
        assert await desk.everything() == before
        await desk.stub.CreateWebhook(desk.new(), metadata=desk.as_bob)
        gone = pb.DeleteWebhookRequest(webhook_id=created[0].webhook.id)
        await desk.stub.DeleteWebhook(gone, metadata=desk.as_alice)
        await desk.create()

    async def test_webhook_of_an_admin_tells_everybodys_events(self, desk: Desk) -> None:
        admin = desk.served.signed_in(await desk.bank.person(roles=("DEPOSITOR", "ADMIN")))
        created = await desk.stub.CreateWebhook(desk.new(), metadata=admin)
        assert created.webhook.everybodys

    async def test_owner_is_told_by_mail_and_the_audit_log_names_no_url(self, desk: Desk) -> None:
        created = await desk.create()
        (event,) = await desk.bank.pool.fetch("SELECT * FROM audit_events")
        assert (event["type"], event["user_id"]) == ("WEBHOOK_CREATED", desk.alice.user_id)
        assert created.webhook.id in event["details"]
        assert URL not in event["details"]
        assert await desk.bank.pool.fetchval("SELECT count(*) FROM outbox WHERE job = 'send_security_notice'") == 1


class TestLookups:
    """Names whose servers do not answer."""

    @pytest.fixture
    def looked_up(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        """The names that were looked up without an answer, for as long as a test goes on."""
        asked, ended, getaddrinfo = [], Event(), socket.getaddrinfo

        def look_up(host: str, *args: Any, **kwargs: Any) -> Any:
            if not host.endswith(".example"):
                return getaddrinfo(host, *args, **kwargs)
            asked.append(host)
            ended.wait(30)
            raise socket.gaierror

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        yield asked
        ended.set()

    async def test_one_takes_the_place_of_its_user_alone_and_may_be_tried_again(
        self, desk: Desk, looked_up: list[str]
    ) -> None:
        webhook_id = (await desk.create()).webhook.id
        before = await desk.everything()
        new = desk.new(url="https://dead.example/")
        refusal = await refusal_of(desk.stub.CreateWebhook(new, metadata=desk.as_alice))
        assert refusal.why == ("UNAVAILABLE", "OVERLOADED")
        moved = change(webhook_id, url="https://other.example/")
        for call in (
            desk.stub.CreateWebhook(new, metadata=desk.as_alice),
            desk.stub.UpdateWebhook(moved, metadata=desk.as_alice),
        ):
            refusal = await refusal_of(call)
            assert refusal.why == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
            assert refusal.detail(RetryInfo).retry_delay.seconds == LOOKUP_TIMEOUT_S
        assert await desk.everything() == before
        assert looked_up == ["dead.example"]
        await desk.stub.CreateWebhook(desk.new(), metadata=desk.as_bob)

    async def test_nothing_is_looked_up_for_whom_nothing_can_be_added_or_changed(
        self, desk: Desk, looked_up: list[str]
    ) -> None:
        for _ in range(WEBHOOKS_MAX):
            last = desk.new()
            added = await desk.stub.CreateWebhook(last, metadata=desk.as_alice)
        await desk.bank.pool.execute("UPDATE users SET email_verified = false WHERE id = $1", desk.bob.user_id)
        before = await desk.everything()
        new = desk.new(url="https://dead.example/")
        unproven = await why(desk.stub.CreateWebhook(new, metadata=desk.as_bob))
        assert unproven == ("FAILED_PRECONDITION", "EMAIL_NOT_VERIFIED")
        too_many = await why(desk.stub.CreateWebhook(new, metadata=desk.as_alice))
        assert too_many == ("FAILED_PRECONDITION", "TOO_MANY_WEBHOOKS")
        moved = change(added.webhook.id, url="https://dead.example/")
        assert await why(desk.stub.UpdateWebhook(moved, metadata=desk.as_bob)) == NOT_FOUND
        assert (await desk.stub.CreateWebhook(last, metadata=desk.as_alice)).replayed
        assert await desk.everything() == before
        assert looked_up == []


class TestListWebhooks:
    async def test_own_ones_newest_first_page_by_page(self, desk: Desk) -> None:
        mine = [(await desk.create()).webhook for _ in range(3)]
        await desk.stub.CreateWebhook(desk.new(), metadata=desk.as_bob)
        first = await desk.stub.ListWebhooks(pb.ListWebhooksRequest(page_size=2), metadata=desk.as_alice)
        assert list(first.webhooks) == [mine[2], mine[1]]
        rest = pb.ListWebhooksRequest(page_size=2, page_token=first.next_page_token)
        second = await desk.stub.ListWebhooks(rest, metadata=desk.as_alice)
        assert (list(second.webhooks), second.next_page_token) == ([mine[0]], "")
        refused = ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
        assert await why(desk.stub.ListWebhooks(rest, metadata=desk.as_bob)) == refused
        negative = pb.ListWebhooksRequest(page_size=-1)
        assert await why(desk.stub.ListWebhooks(negative, metadata=desk.as_alice)) == INVALID


class TestUpdateWebhook:
    async def test_only_what_the_mask_names_changes(self, desk: Desk) -> None:
        webhook = (await desk.create(types=["hold.created"])).webhook
        request = change(webhook.id, "description", description="new", url="http://127.0.0.1:21298/", enabled=False)
        changed = (await desk.stub.UpdateWebhook(request, metadata=desk.as_alice)).webhook
        assert (changed.description, changed.url, changed.enabled) == ("new", URL, True)
        assert list(changed.types) == ["hold.created"]
        request = change(webhook.id, "url", "types", url=URL + "/2")
        changed = (await desk.stub.UpdateWebhook(request, metadata=desk.as_alice)).webhook
        assert (changed.url, list(changed.types)) == (URL + "/2", [])

    async def test_another_address_is_told_by_mail_and_another_description_is_not(self, desk: Desk) -> None:
        webhook_id = (await desk.create()).webhook.id
        mails = "SELECT count(*) FROM outbox"
        assert await desk.bank.pool.fetchval(mails) == 1
        await desk.stub.UpdateWebhook(change(webhook_id, description="x"), metadata=desk.as_alice)
        assert await desk.bank.pool.fetchval(mails) == 1
        await desk.stub.UpdateWebhook(change(webhook_id, url=URL + "/2"), metadata=desk.as_alice)
        assert await desk.bank.pool.fetchval(mails) == 2

    async def test_disabled_one_is_enabled_again_with_a_clean_record(self, desk: Desk) -> None:
        webhook_id = (await desk.create()).webhook.id
        off = change(webhook_id, "enabled", enabled=False)
        disabled = (await desk.stub.UpdateWebhook(off, metadata=desk.as_alice)).webhook
        assert not disabled.enabled
        assert disabled.disable_reason == pb.WEBHOOK_DISABLE_REASON_OWNER
        await desk.bank.pool.execute(
            "UPDATE webhooks SET disable_reason = 'FAILING', failure_count = 9, failing_since_time = now()"
        )
        # Whatever disabled it first stays the reason.
        still = (await desk.stub.UpdateWebhook(off, metadata=desk.as_alice)).webhook
        assert still.disable_reason == pb.WEBHOOK_DISABLE_REASON_FAILING
        on = change(webhook_id, "enabled", enabled=True)
        enabled = (await desk.stub.UpdateWebhook(on, metadata=desk.as_alice)).webhook
        assert (enabled.enabled, enabled.HasField("failing_since_time")) == (True, False)
        assert enabled.disable_reason == pb.WEBHOOK_DISABLE_REASON_UNSPECIFIED
        assert await desk.bank.pool.fetchval("SELECT due_time IS NOT NULL AND failure_count = 0 FROM webhooks")

    async def test_what_is_pending_is_due_at_once_unless_it_stays_disabled(self, desk: Desk) -> None:
        webhook_id = (await desk.create()).webhook.id
        await desk.deliver(webhook_id, 10)
        await desk.deliver(webhook_id, 11, "DELIVERED")
        await desk.bank.pool.execute("UPDATE webhooks SET disable_reason = 'FAILING', due_time = NULL")
        await desk.bank.pool.execute(
            "UPDATE webhook_deliveries SET next_attempt_time = now() + interval '1 d' WHERE state = 'PENDING'"
        )
        due = (
            "SELECT state, attempt_count, next_attempt_time <= clock_timestamp() FROM webhook_deliveries"
            " ORDER BY position"
        )
        await desk.stub.UpdateWebhook(change(webhook_id, description="x"), metadata=desk.as_alice)
        assert tuple(await desk.bank.pool.fetchrow(due) or ()) == ("PENDING", 1, False)
        await desk.stub.UpdateWebhook(change(webhook_id, "enabled", enabled=True), metadata=desk.as_alice)
        assert [tuple(row) for row in await desk.bank.pool.fetch(due)] == [("PENDING", 0, True), ("DELIVERED", 1, None)]

    async def test_wrong_fields_are_refused(self, desk: Desk) -> None:
        webhook_id = (await desk.create()).webhook.id
        before = await desk.everything()
        for request, fields in (
            (change(webhook_id, "url", url="https://user@x/"), ["webhook.url"]),
            (change(webhook_id, "types", types=["a"]), ["webhook.types"]),
            (change(webhook_id, "description", description="x" * 201), ["webhook.description"]),
            (change("x", "description"), ["webhook.id"]),
            (change(webhook_id, "everybodys", everybodys=True), ["update_mask"]),
            (change(webhook_id, "*"), ["update_mask"]),
            (pb.UpdateWebhookRequest(webhook=pb.Webhook(id=webhook_id)), ["update_mask"]),
            (change(webhook_id, "url", url="http://no..address/"), ["webhook.url"]),
        ):
            refusal = await refusal_of(desk.stub.UpdateWebhook(request, metadata=desk.as_alice))
            assert (refusal.why, refusal.fields) == (INVALID, fields)
        assert await desk.everything() == before


class TestDeleteWebhook:
    async def test_it_is_gone_with_its_secrets(self, desk: Desk) -> None:
        webhook_id = (await desk.create()).webhook.id
        request = pb.DeleteWebhookRequest(webhook_id=webhook_id)
        await desk.stub.DeleteWebhook(request, metadata=desk.as_alice)
        assert await desk.bank.pool.fetchval("SELECT count(*) FROM webhook_secrets") == 0
        assert not (await desk.stub.ListWebhooks(pb.ListWebhooksRequest(), metadata=desk.as_alice)).webhooks
        assert await why(desk.stub.DeleteWebhook(request, metadata=desk.as_alice)) == NOT_FOUND


class TestRotateWebhookSecret:
    async def live(self, desk: Desk) -> list[bool]:
        rows = await desk.bank.pool.fetch("SELECT expire_time FROM webhook_secrets ORDER BY id")
        return [row["expire_time"] is None for row in rows]

    async def test_earlier_secret_lives_for_a_day(self, desk: Desk) -> None:
        created = await desk.create()
        request = pb.RotateWebhookSecretRequest(webhook_id=created.webhook.id)
        rotated = await desk.stub.RotateWebhookSecret(request, metadata=desk.as_alice)
        assert rotated.secret.startswith("whsec_")
        assert rotated.secret != created.secret
        assert await self.live(desk) == [False, True]
        left_s = await desk.bank.pool.fetchval(
            "SELECT extract(EPOCH FROM expire_time - now())::float FROM webhook_secrets WHERE expire_time IS NOT NULL"
        )
        assert EARLIER_SECRETS_TTL_S - 60 < left_s <= EARLIER_SECRETS_TTL_S
        assert rotated.HasField("earlier_expire_time")

    async def test_life_of_an_earlier_secret_does_not_begin_anew(self, desk: Desk) -> None:
        request = pb.RotateWebhookSecretRequest(webhook_id=(await desk.create()).webhook.id)
        await desk.stub.RotateWebhookSecret(request, metadata=desk.as_alice)
        first = await desk.bank.pool.fetchval("SELECT min(expire_time) FROM webhook_secrets")
        for _ in range(5):
            await desk.stub.RotateWebhookSecret(request, metadata=desk.as_alice)
            if len(await self.live(desk)) < LIVE_SECRETS_MAX:
                assert await desk.bank.pool.fetchval("SELECT min(expire_time) FROM webhook_secrets") == first
        assert await self.live(desk) == [False, False, False, True]

    async def test_leaked_secret_ends_at_once(self, desk: Desk) -> None:
        webhook_id = (await desk.create()).webhook.id
        request = pb.RotateWebhookSecretRequest(webhook_id=webhook_id, end_earlier=True)
        rotated = await desk.stub.RotateWebhookSecret(request, metadata=desk.as_alice)
        assert not rotated.HasField("earlier_expire_time")
        assert await self.live(desk) == [True]


class TestListWebhookDeliveries:
    async def test_newest_event_first_page_by_page_and_by_state(self, desk: Desk) -> None:
        webhook_id = (await desk.create()).webhook.id
        states = ["DELIVERED", "FAILED", "PENDING", "DELIVERED"]
        ids = [await desk.deliver(webhook_id, 10 + n, state) for n, state in enumerate(states)]
        request = pb.ListWebhookDeliveriesRequest(webhook_id=webhook_id, page_size=3)
        page = await desk.stub.ListWebhookDeliveries(request, metadata=desk.as_alice)
        assert [each.id for each in page.deliveries] == [ids[3], ids[2], ids[1]]
        failed = page.deliveries[2]
        assert (failed.state, failed.failure) == (pb.WEBHOOK_DELIVERY_STATE_FAILED, pb.WEBHOOK_FAILURE_STATUS)
        assert (failed.event_cursor, failed.response_status, failed.attempt_count) == ("11", 500, 1)
        request.page_token = page.next_page_token
        rest = await desk.stub.ListWebhookDeliveries(request, metadata=desk.as_alice)
        assert ([each.id for each in rest.deliveries], rest.next_page_token) == ([ids[0]], "")
        request.state = pb.WEBHOOK_DELIVERY_STATE_DELIVERED
        call = desk.stub.ListWebhookDeliveries(request, metadata=desk.as_alice)
        assert await why(call) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
        request.page_token = ""
        found = await desk.stub.ListWebhookDeliveries(request, metadata=desk.as_alice)
        assert [each.id for each in found.deliveries] == [ids[3], ids[0]]
        request.state = 9  # type: ignore[assignment]  # no such state
        assert await why(desk.stub.ListWebhookDeliveries(request, metadata=desk.as_alice)) == INVALID


class TestRedeliverWebhookDelivery:
    @pytest.mark.parametrize("state", ["DELIVERED", "FAILED", "PENDING"])
    async def test_it_is_due_at_once_whatever_became_of_it(self, desk: Desk, state: str) -> None:
        webhook_id = (await desk.create()).webhook.id
        await desk.bank.pool.execute("UPDATE webhooks SET due_time = NULL")
        delivery_id = await desk.deliver(webhook_id, 10, state)
        request = pb.RedeliverWebhookDeliveryRequest(webhook_id=webhook_id, delivery_id=delivery_id)
        delivery = (await desk.stub.RedeliverWebhookDelivery(request, metadata=desk.as_alice)).delivery
        assert (delivery.state, delivery.attempt_count) == (pb.WEBHOOK_DELIVERY_STATE_PENDING, 0)
        assert delivery.HasField("next_attempt_time")
        assert await desk.bank.pool.fetchval("SELECT due_time <= clock_timestamp() FROM webhooks")

    async def test_delivery_of_another_webhook_looks_like_none(self, desk: Desk) -> None:
        one, other = (await desk.create()).webhook.id, (await desk.create()).webhook.id
        delivery_id = await desk.deliver(one, 10, "DELIVERED")
        before = await desk.everything()
        request = pb.RedeliverWebhookDeliveryRequest(webhook_id=other, delivery_id=delivery_id)
        assert await why(desk.stub.RedeliverWebhookDelivery(request, metadata=desk.as_alice)) == NOT_FOUND
        assert await desk.everything() == before


NAMING: dict[str, Callable[[str], Any]] = {
    "GetWebhook": lambda id_: pb.GetWebhookRequest(webhook_id=id_),
    "UpdateWebhook": lambda id_: change(id_, description="stolen"),
    "DeleteWebhook": lambda id_: pb.DeleteWebhookRequest(webhook_id=id_),
    "RotateWebhookSecret": lambda id_: pb.RotateWebhookSecretRequest(webhook_id=id_, end_earlier=True),
    "ListWebhookDeliveries": lambda id_: pb.ListWebhookDeliveriesRequest(webhook_id=id_),
    "RedeliverWebhookDelivery": lambda id_: pb.RedeliverWebhookDeliveryRequest(webhook_id=id_, delivery_id=ABSENT),
}


class TestOtherPeoplesWebhooks:
    @pytest.mark.parametrize("rpc", NAMING)
    async def test_they_look_like_none_to_admins_too(self, desk: Desk, rpc: str) -> None:
        webhook_id = (await desk.create()).webhook.id
        before = await desk.everything()
        admin = desk.served.signed_in(await desk.bank.person(roles=("DEPOSITOR", "ADMIN")))
        for stranger in (desk.as_bob, admin):
            texts = set()
            for named in (webhook_id, ABSENT):
                refusal = await refusal_of(getattr(desk.stub, rpc)(NAMING[rpc](named), metadata=stranger))
                assert refusal.why == NOT_FOUND
                texts.add(refusal.status.message.replace(named, "ID"))
            assert len(texts) == 1
        assert await desk.everything() == before

    @pytest.mark.parametrize("rpc", NAMING)
    async def test_malformed_id_is_refused(self, desk: Desk, rpc: str) -> None:
        assert await why(getattr(desk.stub, rpc)(NAMING[rpc]("x"), metadata=desk.as_alice)) == INVALID
