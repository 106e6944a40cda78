"""Jobs that send mail."""

import asyncio
import re
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Any
from uuid import UUID

import aiosmtplib
from bankdb import outbox
from bankdb.outbox import GetVerificationMailRow
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from server.config import Settings
from server.database import Database
from server.tokens import MailTokens
from worker.failures import CannotSucceedError, TryLaterError
from worker.metrics import MAILS

_TEMPLATES = Path(__file__).parent / "templates"
_SMTP_TIMEOUT_S = 6.0
_ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


class VerificationEmail:
    """Sends the mail with the link that proves an address.

    Args:
        database: Where tokens and outbox are.
        tokens: Makes the token that was stored at sign-up again.
        settings: Mail server, sender and the address that links begin with.
    """

    def __init__(self, database: Database, tokens: MailTokens, settings: Settings) -> None:
        self._database = database
        self._tokens = tokens
        self._settings = settings
        self._templates = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
        )

    async def send(self, outbox_id: UUID, _: dict[str, Any]) -> None:
        """Send it, if its link is still of use, and mark the job done.

        A worker that dies in between sends the same mail again: same Message-ID, same link.

        Raises:
            TryLaterError: The mail server does not take it now.
            CannotSucceedError: The mail server will never take it.
        """
        async with self._database.connection() as connection:
            mail = await outbox.get_verification_mail(connection, id=outbox_id)
        if mail is not None:
            await self._deliver(self._message(outbox_id, mail), mail.email)
            MAILS.inc()
        async with self._database.connection() as connection:
            await outbox.mark_outbox_job_done(connection, id=outbox_id)

    def _message(self, outbox_id: UUID, mail: GetVerificationMailRow) -> EmailMessage:
        token = self._tokens.make(mail.purpose, outbox_id, mail.user_id)
        # In the fragment: browsers keep it from servers, their logs and the Referer header.
        link = f"{self._settings.public_origin}/verify-email.html#token={token}"
        # The name is the only text of the user's in the mail, and no place for an advertisement.
        facts = {"username": mail.username, "link": link, "origin": self._settings.public_origin}
        name, sender = parseaddr(self._settings.mail_from)
        message = EmailMessage(policy=SMTP)
        try:
            message["From"] = Address(name, addr_spec=sender)
            message["To"] = Address(addr_spec=mail.email)
        except (ValueError, MessageError) as error:
            raise CannotSucceedError("the address cannot be written in a mail") from error
        message["Subject"] = "Confirm your email address"
        message["Message-ID"] = f"<{outbox_id}@{sender.rpartition('@')[2]}>"
        message["Date"] = format_datetime(mail.create_time)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self._templates.get_template("verify_email.txt").render(facts), cte="quoted-printable")
        html = self._templates.get_template("verify_email.html").render(facts)
        message.add_alternative(html, subtype="html", cte="quoted-printable")
        return message

    async def _deliver(self, message: EmailMessage, recipient: str) -> None:
        settings = self._settings
        try:
            async with asyncio.timeout(_SMTP_TIMEOUT_S):
                await aiosmtplib.send(
                    message,
                    recipients=[recipient],
                    hostname=settings.smtp_host,
                    port=settings.smtp_port,
                    username=settings.smtp_username or None,
                    password=settings.smtp_password.get_secret_value() or None,
                    use_tls=settings.smtp_tls == "tls",
                    start_tls=settings.smtp_tls == "starttls",
                    timeout=_SMTP_TIMEOUT_S,
                )
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            refused = f"mail server: {_smtp_reason(error)}"
            raise (CannotSucceedError if _is_final(error) else TryLaterError)(refused) from error


def _is_final(error: Exception) -> bool:
    """Whether the server spoke against this mail for good; not, say, against our password."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(refused.code >= 500 for refused in error.recipients)
    if isinstance(error, (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError)):
        return error.code >= 500
    return isinstance(error, aiosmtplib.SMTPNotSupported)


def _smtp_reason(error: Exception) -> str:
    """Class and codes; the server's text is left out, it may quote the link."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients:
        error = error.recipients[0]
    if not isinstance(error, aiosmtplib.SMTPResponseException):
        return type(error).__name__
    enhanced = _ENHANCED_CODE.match(error.message)
    return f"{type(error).__name__} {error.code}{f' {enhanced[0]}' if enhanced else ''}"
