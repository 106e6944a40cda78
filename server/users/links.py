"""Links that are mailed to users: each is good once, for a while, until a newer one is asked for."""

from uuid import UUID

from bankdb import mail_tokens as mail_token_queries
from bankdb import outbox as outbox_queries
from bankdb.models import User
from uuid_utils.compat import uuid7

from server.database import Connection
from server.errors import TokenInvalid
from server.jobs import Job, payload
from server.tokens import MAIL_TOKEN_TTL_S, RESET_PASSWORD, VERIFY_EMAIL, MailTokens, digest

INTERVAL_S = 60
"""A stranger who asks has at most one link of a kind sent to a user in this time."""
MAILS_PER_ADDRESS_MAX = 10
"""An address is sent at most so many links of a kind in ADDRESS_INTERVAL_S, however many users claim it."""
ADDRESS_INTERVAL_S = 3600

_JOBS = {VERIFY_EMAIL: Job.SEND_VERIFICATION_EMAIL, RESET_PASSWORD: Job.SEND_PASSWORD_RESET_EMAIL}


class Links:
    """Sends links and takes them back. A user's are written under the lock of the user only.

    The purpose of a link is one of those in server/tokens.py.

    Args:
        mail_tokens: Makes the tokens in them.
    """

    def __init__(self, mail_tokens: MailTokens) -> None:
        self._mail_tokens = mail_tokens

    async def send(self, connection: Connection, purpose: str, user_id: UUID, email: str) -> None:
        """Ask the worker for a mail with a new link; older ones for the purpose end.

        An address that was sent too many for the purpose gets none and nobody is told: the user may ask again
        later. Anybody may have an address sent links that prove it, so these do not count against one that sets
        the password of who has proven it.
        """
        count = await mail_token_queries.count_mail_tokens_of_address(
            connection, email=email, purpose=purpose, age_s=ADDRESS_INTERVAL_S
        )
        if (count or 0) >= MAILS_PER_ADDRESS_MAX:
            return
        token_id = uuid7()
        token = self._mail_tokens.make(purpose, token_id, user_id)
        await self.end(connection, purpose, user_id)
        await mail_token_queries.insert_mail_token(
            connection,
            id=token_id,
            user_id=user_id,
            purpose=purpose,
            email=email,
            token_hash=digest(token),
            ttl_s=MAIL_TOKEN_TTL_S[purpose],
        )
        await outbox_queries.insert_outbox_job(
            connection, id=token_id, job=_JOBS[purpose], payload=payload(user_id=user_id)
        )

    async def send_unless_recent(self, connection: Connection, purpose: str, user_id: UUID, email: str) -> None:
        """As `send`, at most once in INTERVAL_S."""
        if not await mail_token_queries.get_mail_token_recent(
            connection, user_id=user_id, purpose=purpose, age_s=INTERVAL_S
        ):
            await self.send(connection, purpose, user_id, email)

    async def owner(self, connection: Connection, purpose: str, token: str) -> User:
        """Who was sent the token.

        Raises:
            TokenInvalid: The token is wrong, used, expired or superseded, or the user is disabled.
        """
        user = await mail_token_queries.get_user_by_mail_token(connection, token_hash=digest(token), purpose=purpose)
        if user is None:
            raise TokenInvalid
        return user

    async def use(self, connection: Connection, purpose: str, token: str) -> str:
        """Use a token up, under the lock of its owner; the address it was mailed to.

        Raises:
            TokenInvalid: It was used up, has expired or was superseded in the meantime.
        """
        email = await mail_token_queries.mark_mail_token_used(connection, token_hash=digest(token), purpose=purpose)
        if email is None:
            raise TokenInvalid
        return email

    async def end(self, connection: Connection, purpose: str, user_id: UUID) -> None:
        """Make all links of a user for a purpose useless."""
        await mail_token_queries.mark_mail_tokens_superseded(connection, user_id=user_id, purpose=purpose)
