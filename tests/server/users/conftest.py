"""Users on a real database."""

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from server.database import Database
from server.page_token import PageTokens
from server.passwords import Passwords
from server.tokens import MailTokens
from server.users.operations import Users
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import new_keys, serving

KEYS = new_keys()


@pytest.fixture(scope="session")
def passwords() -> Iterator[Passwords]:
    made = Passwords(threads=20)
    yield made
    made.close()


@pytest.fixture
def mail_tokens() -> MailTokens:
    return MailTokens(KEYS.mail_token_key)


@pytest.fixture
def users(database: MigratedDatabase, passwords: Passwords, mail_tokens: MailTokens) -> Users:
    return Users(Database(database.pool), passwords, mail_tokens, PageTokens(KEYS.page_token_key))


@pytest.fixture
async def channel(database: MigratedDatabase, passwords: Passwords) -> AsyncIterator[grpc.aio.Channel]:
    """A server of users and sessions."""
    async with serving(database.pool, passwords, KEYS) as opened:
        yield opened
