"""Jobs that send mail."""

import asyncio
from datetime import datetime, timedelta
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Any
from uuid import UUID

from bankdb import audit_events, mail_tokens, outbox

from server.database import Database
from server.tokens import MAIL_TOKEN_TTL_S, MailTokens
from worker.failures import CannotSucceedError, TryLaterError
from worker.mail_server import MailServer
from worker.mail_texts import NOTICES, MailText, MailTexts
from worker.metrics import MAILS
from worker.settings import LINK_KEPT_S, MARK_POLL_S
from worker.supervision import is_outage


class Mailer:
    """Sends the mail of a job and marks the job done; shared by all jobs that send mail.

    Args:
        database: Where the outbox is.
        server: Takes the mails.
        mail_from: Name and address of the sender.
    """

    def __init__(self, database: Database, server: MailServer, mail_from: str) -> None:
        self._database = database
        self._server = server
        self._name, self._address = parseaddr(mail_from)
        # Sent but not marked so: the database went away in between.
        self._unmarked: set[UUID] = set()

    async def send(self, outbox_id: UUID, recipient: str, text: MailText, time: datetime) -> None:
        """Send the mail of a job, unless this process did, and mark the job done.

        A worker that dies in between sends the same mail again, byte by byte, so the same Message-ID.

        Raises:
            TryLaterError: The mail server does not take it now.
            CannotSucceedError: The mail server will never take it, or nobody can have the address.
        """
        if outbox_id not in self._unmarked:
            async with self._server.taking(self._message(outbox_id, recipient, text, time)):
                self._unmarked.add(outbox_id)
                MAILS.inc()
                await self._mark_sent(outbox_id)
        else:
            await self._mark_sent(outbox_id)
        self._unmarked.discard(outbox_id)

    async def mark_done(self, outbox_id: UUID) -> None:
        """Mark a job done."""
        async with self._database.connection() as connection:
            await outbox.mark_outbox_job_done(connection, id=outbox_id)

    async def _mark_sent(self, outbox_id: UUID) -> None:
        # Until the try is over: if another worker took the job up, it would send the mail again.
        while True:
            try:
                return await self.mark_done(outbox_id)
            except Exception as error:
                if not is_outage(error):
                    raise
            await asyncio.sleep(MARK_POLL_S)

    def _message(self, outbox_id: UUID, recipient: str, text: MailText, time: datetime) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        try:
            message["From"] = Address(self._name, addr_spec=self._address)
            message["To"] = Address(addr_spec=recipient)
        except (ValueError, MessageError) as error:
            raise CannotSucceedError("the address cannot be written in a mail") from error
        message["Subject"] = text.subject
        message["Message-ID"] = f"<{outbox_id}@{self._address.rpartition('@')[2]}>"
        message["Date"] = format_datetime(time)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text.text, cte="quoted-printable")
        message.add_alternative(text.html, subtype="html", cte="quoted-printable")
        message.set_boundary(outbox_id.hex)
        return message


class LinkEmail:
    """Sends the mails with a link that carries a token.

    Args:
        database: Where the tokens are.
        mailer: Sends them.
        texts: What they say.
        tokens: Makes the token again that was stored when the mail was asked for.
        purpose: Of the token.
    """

    def __init__(self, database: Database, mailer: Mailer, texts: MailTexts, tokens: MailTokens, purpose: str) -> None:
        self._database = database
        self._mailer = mailer
        self._texts = texts
        self._tokens = tokens
        self._purpose = purpose

    async def send(self, outbox_id: UUID, _: dict[str, Any]) -> None:
        """Send it, if its link is still of use, and mark the job done; the life of the link begins now.

        Raises:
            TryLaterError, CannotSucceedError: As Mailer.send.
        """
        ttl_s = MAIL_TOKEN_TTL_S[self._purpose]
        async with self._database.connection() as connection:
            token = await mail_tokens.start_mail_token(
                connection, id=outbox_id, purpose=self._purpose, ttl_s=ttl_s, renewed_below_s=ttl_s - LINK_KEPT_S
            )
        if token is None:
            return await self._mailer.mark_done(outbox_id)
        text = self._texts.link(
            self._purpose, token.username, self._tokens.make(self._purpose, outbox_id, token.user_id)
        )
        return await self._mailer.send(outbox_id, token.email, text, token.expire_time - timedelta(seconds=ttl_s))


class SecurityNotice:
    """Tells a user by mail what happened to them.

    Args:
        database: Where the audit events are.
        mailer: Sends the mails.
        texts: What they say.
    """

    def __init__(self, database: Database, mailer: Mailer, texts: MailTexts) -> None:
        self._database = database
        self._mailer = mailer
        self._texts = texts

    async def send(self, outbox_id: UUID, payload: dict[str, Any]) -> None:
        """Send it, if the user has an address that was proven, and mark the job done.

        Raises:
            TryLaterError, CannotSucceedError: As Mailer.send.
        """
        async with self._database.connection() as connection:
            event = await audit_events.get_security_notice(connection, id=UUID(payload["audit_event_id"]))
        if event is None:
            return await self._mailer.mark_done(outbox_id)
        if event.type not in NOTICES:
            # During an upgrade a worker of the new version knows what to say.
            raise TryLaterError(f"no text for {event.type}")
        text = self._texts.notice(event.type, event.username, event.create_time, event.client_address, event.user_agent)
        return await self._mailer.send(outbox_id, event.email, text, event.create_time)
