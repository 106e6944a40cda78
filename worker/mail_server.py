"""Hands mails over to the mail server."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage

import aiosmtplib

from server.config import Settings, SettingsRefusedError
from worker.failures import CannotSucceedError, TryLaterError
from worker.settings import SMTP_TIMEOUT_S

_QUIT_TIMEOUT_S = 1.0
_ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


class MailServer:
    """The mail server that the settings name; each mail is a connection of its own.

    Args:
        settings: With SMTP_TLS the server must prove its name before it is told anything.

    Raises:
        SettingsRefusedError: SMTP_CA_FILE holds no certificate.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        try:
            self._tls_context = None if settings.smtp_tls == "none" else _tls_context(settings)
        except (ssl.SSLError, OSError):
            raise SettingsRefusedError("SMTP_CA_FILE: holds no certificate in PEM form") from None

    @asynccontextmanager
    async def taking(self, message: EmailMessage) -> AsyncIterator[None]:
        """Hand a mail over; the body runs once the server has taken it, whatever comes after.

        Args:
            message: With one sender and one recipient.

        Raises:
            TryLaterError: The server cannot be reached or trusted, or does not take the mail now.
            CannotSucceedError: The server will never take this mail.
        """
        (sender,), (recipient,) = message["From"].addresses, message["To"].addresses
        client = self._client(sender.domain)
        try:
            try:
                async with asyncio.timeout(SMTP_TIMEOUT_S):
                    await client.connect()
                    await client.send_message(message, sender=sender.addr_spec, recipients=[recipient.addr_spec])
            except (aiosmtplib.SMTPException, OSError) as error:
                refused = f"mail server: {_reason(error)}"
                raise (CannotSucceedError if _is_final(error) else TryLaterError)(refused) from error
            yield
            with suppress(aiosmtplib.SMTPException, OSError):
                async with asyncio.timeout(_QUIT_TIMEOUT_S):
                    await client.quit()
        finally:
            client.close()

    def _client(self, own_name: str) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            # Not this machine's own name, which is nobody's business and may take a slow resolver to find.
            local_hostname=own_name,
            username=settings.smtp_username or None,
            password=settings.smtp_password.get_secret_value() or None,
            use_tls=settings.smtp_tls == "tls",
            start_tls=settings.smtp_tls == "starttls",
            tls_context=self._tls_context,
            timeout=SMTP_TIMEOUT_S,
        )


def _tls_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.smtp_ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_final(error: Exception) -> bool:
    """Whether the server spoke against this mail for good; not, say, against our name or password."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(refused.code >= 500 for refused in error.recipients)
    if isinstance(error, aiosmtplib.SMTPDataError):
        return error.code >= 500
    return isinstance(error, aiosmtplib.SMTPNotSupported)


def _reason(error: Exception) -> str:
    """Class and codes; the server's text is left out, it may quote the link."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients:
        error = error.recipients[0]
    if not isinstance(error, aiosmtplib.SMTPResponseException):
        return type(error).__name__
    enhanced = _ENHANCED_CODE.match(error.message)
    return f"{type(error).__name__} {error.code}{f' {enhanced[0]}' if enhanced else ''}"
