"""What happens to webhooks: added, changed, removed; their secrets; what became of their deliveries."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bankdb import users as user_queries
from bankdb import webhook_deliveries as delivery_queries
from bankdb import webhooks as queries
from bankdb.models import User, Webhook, WebhookDelivery
from uuid_utils.compat import uuid7

from server.audit.recording import AuditEventType, record
from server.caller import Caller, Role
from server.database import Connection, Database
from server.errors import EmailNotVerified, FieldViolation, InvalidRequest, NotFound
from server.events.operations import last_position
from server.page_token import PageTokens
from server.request_ids import Request, claim
from server.webhooks.errors import TooManyWebhooks
from server.webhooks.secrets import WebhookSecrets
from server.webhooks.targets import Targets

WEBHOOKS_MAX = 10
EARLIER_SECRETS_TTL_S = 24 * 3600.0
"""For so long a receiver may go on with the secret it has after a new one was made."""
LIVE_SECRETS_MAX = 4
_LAST_POSITION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook to add, already parsed.

    Attributes:
        types: Only events of these types; empty: of all.
    """

    request: Request
    url: str
    types: list[str]
    description: str


@dataclass(frozen=True, slots=True)
class WebhookChange:
    """New values of a webhook; None leaves one as it is."""

    webhook_id: UUID
    url: str | None = None
    types: list[str] | None = None
    description: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """What ListWebhookDeliveries is asked for.

    Attributes:
        state: As stored; None: any.
    """

    webhook_id: UUID
    state: str | None
    page_size: int
    page_token: str


class Webhooks:
    """Changes and reads the webhooks of a caller."""

    def __init__(self, database: Database, page_tokens: PageTokens, secrets: WebhookSecrets, targets: Targets) -> None:
        self._database = database
        self._page_tokens = page_tokens
        self._secrets = secrets
        self._targets = targets

    async def create(self, new: NewWebhook, caller: Caller) -> tuple[Webhook, str]:
        """Add a webhook, at most once per request id.

        Returns:
            The webhook as it is now, and its secret: empty if an earlier call had added it.

        Raises:
            EmailNotVerified: The caller could not be told when it fails.
            RateLimited: A host is still being looked up for the caller.
            Overloaded: Its host could not be looked up in time.
            RequestIdReused: The request id stands for another call.
            NotFound: An earlier call had added it, and it was deleted.
            TooManyWebhooks: The caller has as many as there may be.
            InvalidRequest: Its host is not on the public internet.
        """
        # Before the transaction: names are looked up elsewhere, and that may take long. For whom
        # nothing can be added nothing is looked up, but what was added before is shown.
        async with self._database.connection() as connection:
            has_room = await _has_room(connection, await user_queries.get_user(connection, id=caller.user_id), caller)
        reachable = has_room and await self._targets.can_be_reached(new.url, caller.user_id)

        async def work(connection: Connection) -> tuple[Webhook, str]:
            # Under this lock webhooks of one user are added one after the other, so that they can be counted.
            user = await user_queries.lock_user(connection, id=caller.user_id)
            still_has_room = await _has_room(connection, user, caller)
            webhook_id = uuid7()
            earlier_id = await claim(connection, new.request, webhook_id)
            if earlier_id is not None:
                return await _found(connection, earlier_id, caller), ""
            if not (has_room and still_has_room):
                raise TooManyWebhooks(caller.user_id, WEBHOOKS_MAX)
            if not reachable:
                raise _unreachable("url")
            return await self._insert(connection, webhook_id, new, caller)

        return await self._database.transaction(work)

    async def _insert(
        self, connection: Connection, webhook_id: UUID, new: NewWebhook, caller: Caller
    ) -> tuple[Webhook, str]:
        position = await last_position(connection)
        webhook = await queries.insert_webhook(
            connection,
            id=webhook_id,
            user_id=caller.user_id,
            url=new.url,
            types=new.types,
            description=new.description,
            everybodys=caller.has_any(Role.ADMIN),
            position=position,
        )
        assert webhook is not None  # RETURNING
        secret, ciphertext = self._secrets.make(webhook_id)
        await queries.insert_webhook_secret(connection, id=uuid7(), webhook_id=webhook_id, ciphertext=ciphertext)
        await record(
            connection,
            AuditEventType.WEBHOOK_CREATED,
            user_id=caller.user_id,
            actor=caller,
            notify=True,
            webhook_id=str(webhook_id),
        )
        return webhook, secret

    async def get(self, webhook_id: UUID, caller: Caller) -> Webhook:
        """One webhook.

        Raises:
            NotFound: Absent, or not the caller's.
        """
        async with self._database.connection() as connection:
            return await _found(connection, webhook_id, caller)

    async def page(self, page_size: int, page_token: str, caller: Caller) -> tuple[list[Webhook], str]:
        """One page, newest first, and the token of the next.

        Raises:
            InvalidPageToken: Not of this list and caller.
        """
        scope = ("webhooks", str(caller.user_id))
        before_id = self._page_tokens.before_id(scope, page_token)
        async with self._database.connection() as connection:
            rows = await queries.list_webhooks(
                connection, user_id=caller.user_id, before_id=before_id, page_size=page_size + 1
            )
        return self._page_tokens.cut(scope, rows, page_size, lambda row: [str(row.id)])

    async def update(self, change: WebhookChange, caller: Caller) -> Webhook:
        """Change a webhook; what failed before is forgotten, and pending deliveries of an enabled one are due at once.

        Raises:
            NotFound: Absent, or not the caller's.
            RateLimited: A host is still being looked up for the caller.
            Overloaded: Its new host could not be looked up in time.
            InvalidRequest: Its new host is not on the public internet.
        """
        reachable = True
        if change.url is not None:
            async with self._database.connection() as connection:
                await _found(connection, change.webhook_id, caller)
            reachable = await self._targets.can_be_reached(change.url, caller.user_id)

        async def work(connection: Connection) -> Webhook:
            webhook = await _locked(connection, change.webhook_id, caller)
            if not reachable:
                raise _unreachable("webhook.url")
            disable_reason = webhook.disable_reason
            if change.enabled is not None:
                disable_reason = None if change.enabled else disable_reason or "OWNER"
            updated = await queries.update_webhook(
                connection,
                id=webhook.id,
                url=webhook.url if change.url is None else change.url,
                types=webhook.types if change.types is None else change.types,
                description=webhook.description if change.description is None else change.description,
                disable_reason=disable_reason,
            )
            assert updated is not None  # it is locked
            if disable_reason is None:
                await delivery_queries.mark_webhook_deliveries_restarted(connection, webhook_id=webhook.id)
            moved = updated.url != webhook.url
            await record(
                connection,
                AuditEventType.WEBHOOK_UPDATED,
                user_id=caller.user_id,
                actor=caller,
                webhook_id=str(webhook.id),
                notify=moved,
            )
            return updated

        return await self._database.transaction(work)

    async def delete(self, webhook_id: UUID, caller: Caller) -> None:
        """Remove a webhook with its secrets; the retention removes its deliveries.

        Raises:
            NotFound: Absent, or not the caller's.
        """

        async def work(connection: Connection) -> None:
            await _locked(connection, webhook_id, caller)
            await queries.mark_webhook_deleted(connection, id=webhook_id)
            await queries.delete_webhook_secrets(connection, webhook_id=webhook_id, kept=0)
            await record(
                connection,
                AuditEventType.WEBHOOK_DELETED,
                user_id=caller.user_id,
                actor=caller,
                webhook_id=str(webhook_id),
            )

        await self._database.transaction(work)

    async def rotate_secret(
        self, webhook_id: UUID, caller: Caller, *, end_earlier: bool
    ) -> tuple[str, datetime | None]:
        """Make a new secret.

        Returns:
            The secret, and until when those before it stay live; None if they have ended.

        Raises:
            NotFound: Absent, or not the caller's.
        """

        async def work(connection: Connection) -> tuple[str, datetime | None]:
            await _locked(connection, webhook_id, caller)
            expire_time = None
            if end_earlier:
                await queries.delete_webhook_secrets(connection, webhook_id=webhook_id, kept=0)
            else:
                expire_time = await queries.update_webhook_secrets_expiring(
                    connection, webhook_id=webhook_id, ttl_s=EARLIER_SECRETS_TTL_S
                )
            secret, ciphertext = self._secrets.make(webhook_id)
            await queries.insert_webhook_secret(connection, id=uuid7(), webhook_id=webhook_id, ciphertext=ciphertext)
            await queries.delete_webhook_secrets(connection, webhook_id=webhook_id, kept=LIVE_SECRETS_MAX)
            await record(
                connection,
                AuditEventType.WEBHOOK_SECRET_ROTATED,
                user_id=caller.user_id,
                actor=caller,
                webhook_id=str(webhook_id),
            )
            return secret, expire_time

        return await self._database.transaction(work)

    async def deliveries(self, wanted: DeliveryFilter, caller: Caller) -> tuple[list[WebhookDelivery], str]:
        """One page of deliveries, newest event first, and the token of the next.

        Raises:
            NotFound: The webhook is absent, or not the caller's.
            InvalidPageToken: Not of this list, filter and caller.
        """
        scope = ("webhook_deliveries", str(caller.user_id), str(wanted.webhook_id), wanted.state or "")
        async with self._database.connection() as connection:
            await _found(connection, wanted.webhook_id, caller)
            position = self._page_tokens.read(scope, wanted.page_token)
            before = int(position[0]) if position else _LAST_POSITION
            size = wanted.page_size + 1
            if wanted.state is None:
                rows = await delivery_queries.list_webhook_deliveries(
                    connection, webhook_id=wanted.webhook_id, before_position=before, page_size=size
                )
            else:
                rows = await delivery_queries.list_webhook_deliveries_by_state(
                    connection,
                    webhook_id=wanted.webhook_id,
                    state=wanted.state,
                    before_position=before,
                    page_size=size,
                )
        return self._page_tokens.cut(scope, rows, wanted.page_size, lambda row: [str(row.position)])

    async def redeliver(self, webhook_id: UUID, delivery_id: UUID, caller: Caller) -> WebhookDelivery:
        """Have an event delivered once more.

        Raises:
            NotFound: The webhook is absent or not the caller's, or has no such delivery.
        """

        async def work(connection: Connection) -> WebhookDelivery:
            await _locked(connection, webhook_id, caller)
            delivery = await delivery_queries.mark_webhook_delivery_restarted(
                connection, id=delivery_id, webhook_id=webhook_id
            )
            if delivery is None:
                raise NotFound("delivery", delivery_id)
            await queries.mark_webhook_due(connection, id=webhook_id)
            return delivery

        return await self._database.transaction(work)


async def _has_room(connection: Connection, user: User | None, caller: Caller) -> bool:
    """Whether the caller, whose address must be proven, may have another webhook."""
    if user is None or not user.email_verified:
        raise EmailNotVerified(caller.user_id)
    return (await queries.count_webhooks(connection, user_id=caller.user_id) or 0) < WEBHOOKS_MAX


async def _found(connection: Connection, webhook_id: UUID, caller: Caller) -> Webhook:
    webhook = await queries.get_webhook(connection, id=webhook_id, user_id=caller.user_id)
    if webhook is None:
        raise NotFound("webhook", webhook_id)
    return webhook


async def _locked(connection: Connection, webhook_id: UUID, caller: Caller) -> Webhook:
    webhook = await queries.lock_webhook(connection, id=webhook_id, user_id=caller.user_id)
    if webhook is None:
        raise NotFound("webhook", webhook_id)
    return webhook


def _unreachable(field: str) -> InvalidRequest:
    # One answer for a name without address and for one that leads inside: nobody learns from it
    # which names there are inside.
    return InvalidRequest([FieldViolation(field, "must name a host all of whose addresses are on the public internet")])
