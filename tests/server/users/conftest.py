"""Users on a real database."""

from collections.abc import AsyncIterator

import grpc
import pytest
from bankdb.models import User

from server.credentials import CredentialCheck
from server.database import Database as ServerDatabase
from server.page_token import PageTokens
from server.passwords import Passwords
from server.sessions.operations import Sessions
from server.tokens import AccessTokens, MailTokens
from server.users.addresses import UserAddresses
from server.users.operations import Users
from server.users.passwords import UserPasswords
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import Identity, identity_on, new_keys, new_user, serving
from tests.server.users.mail import Mailbox

KEYS = new_keys()


@pytest.fixture(scope="session")
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(2, places=40)
    yield made
    await made.close()


@pytest.fixture
def mail_tokens() -> MailTokens:
    return MailTokens(KEYS.mail_token_key)


@pytest.fixture
def mailbox(database: MigratedDatabase, mail_tokens: MailTokens) -> Mailbox:
    return Mailbox(database, mail_tokens)


@pytest.fixture
def identity(database: MigratedDatabase, passwords: Passwords) -> Identity:
    return identity_on(database.pool, passwords, KEYS, {})


@pytest.fixture
def users(identity: Identity) -> Users:
    return identity.users


@pytest.fixture
def addresses(identity: Identity) -> UserAddresses:
    return identity.addresses


@pytest.fixture
def user_passwords(identity: Identity) -> UserPasswords:
    return identity.passwords


@pytest.fixture
async def alice(users: Users, addresses: UserAddresses, mailbox: Mailbox) -> User:
    """Signed up and verified."""
    return await addresses.verify(await mailbox.newest_token(await users.create(new_user())))


@pytest.fixture
async def channel(database: MigratedDatabase, passwords: Passwords) -> AsyncIterator[grpc.aio.Channel]:
    """A server of users and sessions."""
    async with serving(database.pool, passwords, KEYS) as opened:
        yield opened


@pytest.fixture
def sessions(database: MigratedDatabase, identity: Identity) -> Sessions:
    return Sessions(
        ServerDatabase(database.pool),
        identity.credentials,
        AccessTokens(KEYS, "paseto", 900),
        PageTokens(KEYS.page_token_key),
        idle_ttl_s=3600,
        ttl_s=7200,
    )


@pytest.fixture
def credentials(identity: Identity) -> CredentialCheck:
    return identity.credentials
