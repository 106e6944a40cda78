"""A bank whose accounts are also reached over a real channel."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

import grpc
import pytest
from bank.v1.account_service_pb2_grpc import AccountServiceStub, add_AccountServiceServicer_to_server
from bank.v1.ledger_service_pb2_grpc import LedgerServiceStub, add_LedgerServiceServicer_to_server

from server.access import ACCESS
from server.accounts.operations import Accounts
from server.accounts.payees import Payees
from server.accounts.rpc import AccountServicer
from server.accounts.standing import AccountStanding
from server.accounts.statements import Statements
from server.audit.operations import AuditLog
from server.interceptor import CallInterceptor
from server.ledger.rpc import LedgerServicer
from server.page_token import PageTokens
from server.sessions.callers import CallerStates
from server.throttles import RateLimits
from server.tokens import AccessTokens
from server.transfers.operations import TransferReader
from tests.server.bank import Bank, Person
from tests.server.identity import bearer, new_keys

KEYS = new_keys()
TOKENS = AccessTokens(KEYS, "paseto", 900)


def as_person(person: Person) -> tuple[tuple[str, str], ...]:
    """Metadata that proves who calls."""
    return bearer(TOKENS.issue(person.user_id, person.session_id, datetime.now(UTC))[0])


@pytest.fixture
async def alice(bank: Bank) -> Person:
    return await bank.person()


@pytest.fixture
async def own(bank: Bank, alice: Person) -> UUID:
    return await bank.account(alice, 100)


@pytest.fixture
def standing(bank: Bank) -> AccountStanding:
    return AccountStanding(bank.database)


@pytest.fixture
def statements(bank: Bank) -> Statements:
    """Nothing about callers is remembered."""
    page_tokens, callers = PageTokens(KEYS.page_token_key), CallerStates(bank.database, count().__next__)
    return Statements(bank.database, Accounts(bank.database, page_tokens), page_tokens, callers)


@dataclass(frozen=True)
class Stubs:
    """Clients of a running server."""

    accounts: AccountServiceStub
    ledger: LedgerServiceStub


@pytest.fixture
async def stubs(bank: Bank) -> AsyncIterator[Stubs]:
    """A server of accounts and the ledger behind the interceptor."""
    page_tokens = PageTokens(KEYS.page_token_key)
    accounts, callers = Accounts(bank.database, page_tokens), CallerStates(bank.database)
    server = grpc.aio.server(interceptors=[CallInterceptor(ACCESS, TOKENS, callers, "https://bank.example.com/errors")])
    add_AccountServiceServicer_to_server(
        AccountServicer(
            accounts,
            AccountStanding(bank.database),
            Statements(bank.database, accounts, page_tokens, callers),
            Payees(bank.database, RateLimits(bank.database, {})),
            bank.ledger,
            TransferReader(bank.database, page_tokens),
            bank.reference,
        ),
        server,
    )
    add_LedgerServiceServicer_to_server(
        LedgerServicer(bank.database, bank.reference, AuditLog(bank.database, page_tokens)), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Stubs(AccountServiceStub(channel), LedgerServiceStub(channel))
    finally:
        await server.stop(None)
