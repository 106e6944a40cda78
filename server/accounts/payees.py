"""Whom one can pay by name: users who want to be found, with as little of them as a payment needs."""

import unicodedata
from collections.abc import Iterator

from bankdb import accounts as account_queries
from bankdb import users as user_queries
from bankdb.accounts import GetPayeeRow

from server.caller import Caller
from server.database import Database
from server.errors import EmailNotVerified, NotFound
from server.throttles import Action, RateLimits

ELLIPSIS = "…"
_JOINER = "\u200d"


class Payees:
    """Finds payees.

    Args:
        database: Where users and accounts are.
        rate_limits: Of look-ups, by the user who asks.
    """

    def __init__(self, database: Database, rate_limits: RateLimits) -> None:
        self._database = database
        self._rate_limits = rate_limits

    async def find(self, username: str, currency_code: str, caller: Caller) -> GetPayeeRow:
        """The account that a payment to somebody goes to.

        Args:
            username: Canonical.
            currency_code: Of the account.
            caller: Who asks; every answer uses up one of their allowance.

        Raises:
            EmailNotVerified: The caller moves no money.
            RateLimited: The caller has asked too often; nothing was looked up.
            NotFound: No such user, they are disabled or do not want to be found, or they have no
                open account in the currency: the four are told apart by nobody.
        """
        async with self._database.connection() as connection:
            asking = await user_queries.get_user(connection, id=caller.user_id)
        if asking is None or not asking.email_verified:
            raise EmailNotVerified(caller.user_id)
        await self._rate_limits.take_of_user(Action.PAYEE, caller.user_id)
        async with self._database.connection() as connection:
            payee = await account_queries.get_payee(connection, username=username, currency_code=currency_code)
        if payee is None:
            raise NotFound("payee", username)
        return payee


def masked(full_name: str) -> str:
    """The first letter of each word, each followed by an ellipsis: `Zoë van Dam` is `Z… v… D…`.

    A digit or a symbol counts as a letter; signs before it are left out, and what a reader takes
    for one letter with it is kept: accents, joined characters. How long a word is is not told.
    A name without any letter is the ellipsis alone.
    """
    letters = (_first_letter(word) for word in full_name.split())
    return " ".join(f"{letter}{ELLIPSIS}" for letter in letters if letter) or ELLIPSIS


def _first_letter(word: str) -> str:
    characters = iter(word)
    for character in characters:
        if unicodedata.category(character).startswith(("L", "N", "S")):
            return character + "".join(_continuation(characters))
    return ""


def _continuation(characters: Iterator[str]) -> Iterator[str]:
    """Marks and joined characters that follow a character: they are one letter to who reads it."""
    joined = False
    for character in characters:
        if not joined and character != _JOINER and not unicodedata.category(character).startswith("M"):
            return
        joined = character == _JOINER
        yield character
