"""What mails say, in plain text and HTML, from worker/templates.

Nothing that others may choose stands in a header. In a body stand the user name, whose letters make
no link, and of where a call came from only what `describe_address` and `describe_program` let pass.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from server.tokens import MAIL_TOKEN_TTL_S, RESET_PASSWORD, VERIFY_EMAIL

_TEMPLATES = Path(__file__).parent / "templates"
_TIME = "%-d %B %Y, %H:%M UTC"
_SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Macintosh", "CrOS", "Linux")
# In this order: most browsers carry the names of others along.
_BROWSERS = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}(?:/[0-9]{1,4}(?:\.[0-9]{1,4}){0,2})?(?![A-Za-z0-9_/:@]|\.[A-Za-z])")


@dataclass(frozen=True, slots=True)
class MailText:
    """A mail without its headers."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class LinkMail:
    """A mail with a link that carries a token.

    Attributes:
        page: Of the gateway; it takes the token from the fragment.
        template: Name of its templates.
    """

    subject: str
    page: str
    template: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A mail that tells what happened to a user.

    Attributes:
        what: Happened.
        advice: What to do, above all if it was somebody else.
    """

    subject: str
    what: str
    advice: str


LINKS = {
    VERIFY_EMAIL: LinkMail("Confirm your email address", "verify-email.html", "verify_email"),
    RESET_PASSWORD: LinkMail("Set a new password", "reset-password.html", "reset_password"),
}
"""By purpose of the token."""

NOTICES = {
    "SIGNED_IN": Notice(
        "New sign-in",
        "Somebody signed in with your user name and password, from a program or place that is new for you.",
        "If this was you, there is nothing to do. If not, change your password at once: that ends all other sessions.",
    ),
    "PASSWORD_CHANGED": Notice(
        "Your password was changed",
        "Your password was changed, and all your other sessions were ended.",
        "If this was not you, ask for a password reset at once: its link is sent to this address.",
    ),
    "PASSWORD_RESET": Notice(
        "Your password was reset",
        "A new password was set with a link that was sent to this address, and all your sessions were ended.",
        "If this was not you, somebody else reads your mail: secure your mailbox, then reset your password again.",
    ),
    "EMAIL_CHANGE_REQUESTED": Notice(
        "Your email address is about to change",
        "Somebody who knows your password entered another email address for you."
        " It takes the place of this one as soon as it is confirmed.",
        "If this was not you, change your password at once: that also takes the new address back.",
    ),
    "EMAIL_CHANGED": Notice(
        "Your email address was changed",
        "Another email address was confirmed and has taken the place of this one. Nothing more is sent here.",
        "If this was not you, tell the operator of the service at once.",
    ),
    "EMAIL_CLAIMED": Notice(
        "Somebody tried to confirm your email address",
        "A link that was sent to this address was opened to confirm it for another user."
        " That was refused, because the address is yours. Nothing has changed.",
        "If this was you, sign in with the user name above instead."
        " If not, somebody else may read your mail: secure your mailbox.",
    ),
    "REFRESH_TOKEN_REUSED": Notice(
        "One of your sessions was ended",
        "The secret that keeps one of your sessions going was used twice, so somebody may have copied it."
        " The session was ended to be safe.",
        "Sign in again. If it happens once more, change your password and check the device you used.",
    ),
    "WEBHOOK_CREATED": Notice(
        "A webhook was added",
        "From now on a web address that was entered in your name is told what happens to you and your accounts.",
        "If this was not you, delete the webhook, then change your password at once.",
    ),
    "WEBHOOK_UPDATED": Notice(
        "A webhook leads to another address",
        "One of your webhooks was changed: another web address is told what happens to you and your accounts.",
        "If this was not you, delete the webhook, then change your password at once.",
    ),
    "WEBHOOK_DISABLED": Notice(
        "A webhook was disabled",
        "For three days nothing could be delivered to one of your webhooks, so it was disabled.",
        "ListWebhooks shows which one, ListWebhookDeliveries why. Repair the receiver, then enable the webhook again:"
        " it goes on where it stopped, and nothing is lost.",
    ),
}
"""By type of the audit event."""


class MailTexts:
    """Writes mails.

    Args:
        origin: Where people reach the service, without a trailing slash; links begin with it.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._templates = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
        )

    def link(self, purpose: str, username: str, token: str) -> MailText:
        """The mail with a token of this purpose."""
        mail = LINKS[purpose]
        hours = MAIL_TOKEN_TTL_S[purpose] // 3600
        return self._write(
            mail.template,
            mail.subject,
            username=username,
            # In the fragment: browsers keep it from servers, their logs and the Referer header.
            link=f"{self._origin}/{mail.page}#token={token}",
            life="one hour" if hours == 1 else f"{hours} hours",
        )

    def notice(self, type_: str, username: str, time: datetime, client_address: str, user_agent: str) -> MailText:
        """The mail that tells what happened, when, and from where if anybody called; the type is one of NOTICES."""
        notice = NOTICES[type_]
        facts = {"Time": time.astimezone(UTC).strftime(_TIME)}
        if client_address or user_agent:  # what the service did by itself came from nowhere
            facts |= {"Address": describe_address(client_address), "Program": describe_program(user_agent)}
        return self._write(
            "security_notice",
            notice.subject,
            username=username,
            what=notice.what,
            advice=notice.advice,
            facts=facts,
        )

    def _write(self, template: str, subject: str, **facts: object) -> MailText:
        facts |= {"subject": subject, "origin": self._origin}
        text, html = (self._templates.get_template(f"{template}.{kind}").render(facts) for kind in ("txt", "html"))
        return MailText(subject, text, html)


def describe_address(client_address: str) -> str:
    """An IP address as such; anything else is not repeated."""
    try:
        # The zone of an address, after a percent sign, may be any text.
        return ip_address(client_address.partition("%")[0]).compressed
    except ValueError:
        return "unknown"


def describe_program(user_agent: str) -> str:
    """The program that a header names, in words of ours if it is a browser.

    The header may say anything, also to lure the reader: no more of it is repeated than one name
    and version, in which no mail program sees a link.
    """
    browser = next((name for mark, name in _BROWSERS.items() if mark in user_agent), None)
    if user_agent.startswith("Mozilla/") and browser is not None:
        system = next((name for name in _SYSTEMS if name in user_agent), None)
        return f"{browser} on {system}" if system else browser
    product = _PRODUCT.match(user_agent)
    return product[0] if product else "unknown"
