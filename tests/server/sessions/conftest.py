"""Sessions on a real database."""

from collections.abc import AsyncIterator

import grpc
import pytest
from bankdb.models import User

from server.database import Database
from server.page_token import PageTokens
from server.passwords import Passwords
from server.sessions.operations import Sessions, SignedIn
from server.tokens import AccessTokens
from server.users.operations import Users
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import Identity, identity_on, new_keys, new_user, serving
from tests.server.sessions.scene import GOOD, ORIGIN

KEYS = new_keys()
IDLE_TTL_S = 7 * 24 * 3600
TTL_S = 30 * 24 * 3600


@pytest.fixture(scope="session")
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(2, places=40)
    yield made
    await made.close()


@pytest.fixture
def access_tokens() -> AccessTokens:
    return AccessTokens(KEYS, "paseto", 900)


@pytest.fixture
def identity(database: MigratedDatabase, passwords: Passwords) -> Identity:
    return identity_on(database.pool, passwords, KEYS, {})


@pytest.fixture
def users(identity: Identity) -> Users:
    return identity.users


@pytest.fixture
def sessions(database: MigratedDatabase, identity: Identity, access_tokens: AccessTokens) -> Sessions:
    page_tokens = PageTokens(KEYS.page_token_key)
    return Sessions(
        Database(database.pool), identity.credentials, access_tokens, page_tokens, idle_ttl_s=IDLE_TTL_S, ttl_s=TTL_S
    )


@pytest.fixture
async def alice(users: Users) -> User:
    """Signed up, unverified."""
    return await users.create(new_user())


@pytest.fixture
async def signed_in(alice: User, sessions: Sessions) -> SignedIn:
    return await sessions.create(GOOD, ORIGIN)


@pytest.fixture
async def channel(database: MigratedDatabase, passwords: Passwords) -> AsyncIterator[grpc.aio.Channel]:
    """A server of users and sessions."""
    async with serving(database.pool, passwords, KEYS) as opened:
        yield opened
