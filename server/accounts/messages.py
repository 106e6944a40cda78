"""Accounts between the wire and the operations: requests to commands, rows to messages."""

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from bank.v1.account_service_pb2 import Account as AccountMessage
from bank.v1.account_service_pb2 import Balance as BalanceMessage
from bank.v1.account_service_pb2 import (
    CloseAccountRequest,
    CreateAccountRequest,
    CreateAccountResponse,
    DepositFundsRequest,
    DepositFundsResponse,
    ExportStatementRequest,
    FreezeAccountRequest,
    GetAccountRequest,
    GetAccountResponse,
    GetBalanceRequest,
    GetBalanceResponse,
    GetPayeeRequest,
    GetPayeeResponse,
    GetStatementRequest,
    GetStatementResponse,
    ListAccountsRequest,
    ListAccountsResponse,
    ListEntriesRequest,
    ListEntriesResponse,
    Payee,
    UnfreezeAccountRequest,
    UpdateAccountRequest,
    WithdrawFundsRequest,
    WithdrawFundsResponse,
)
from bankdb.accounts import GetAccountRow, GetPayeeRow, InsertAccountRow, ListAccountsOfUserRow, ListAccountsRow
from bankdb.models import Entry
from bankdb.transfers import GetTransferRow

from server.accounts.opening import NewAccount
from server.accounts.operations import Page
from server.accounts.payees import masked
from server.accounts.standing import SettingsChange
from server.accounts.statements import Balance, Period, StatementPage
from server.caller import Caller
from server.ledger.movements import Kind, Movement, Posted, fingerprint_of
from server.reference_data import ReferenceData
from server.timestamps import to_proto
from server.transfer_messages import render_entry, render_posted, render_stored
from server.violations import AMOUNT_MINOR_MAX, DESCRIPTION_LENGTH_MAX, Violations

CREATE_ACCOUNT = "bank.v1.AccountService/CreateAccount"
DEPOSIT_FUNDS = "bank.v1.AccountService/DepositFunds"
WITHDRAW_FUNDS = "bank.v1.AccountService/WithdrawFunds"
DISPLAY_NAME_LENGTH_MAX = 100


def parse_create_account(
    request: CreateAccountRequest, caller: Caller, idempotency_key: str, reference: ReferenceData
) -> NewAccount:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
        UnknownCurrency: Nothing else is wrong.
    """
    check = Violations()
    currency_code = check.currency("currency_code", request.currency_code, reference.currencies)
    display_name = check.text("display_name", request.display_name, longest=DISPLAY_NAME_LENGTH_MAX)
    request_id = check.request_id(request.request_id, idempotency_key)
    owner_user_id = check.user_id_or_none("owner_user_id", request.owner_user_id, caller) or caller.user_id
    check.raise_if_any()
    return NewAccount(
        requester_user_id=caller.user_id,
        request_id=request_id,
        rpc=CREATE_ACCOUNT,
        fingerprint=fingerprint_of(owner_user_id, currency_code, display_name),
        owner_user_id=owner_user_id,
        currency_code=currency_code,
        display_name=display_name,
    )


StoredAccount = GetAccountRow | InsertAccountRow | ListAccountsOfUserRow | ListAccountsRow


def render_created(account: StoredAccount, replayed: bool) -> CreateAccountResponse:
    """The answer to CreateAccount."""
    return CreateAccountResponse(account=render_account(account), replayed=replayed)


def render_account(account: StoredAccount) -> AccountMessage:
    """An account, for who may see it; what overdue holds held is free already."""
    held_minor = account.held_minor - account.overdue_minor
    return AccountMessage(
        id=str(account.id),
        owner_user_id=str(account.owner_user_id),
        display_name=account.display_name,
        currency_code=account.currency_code,
        state=f"ACCOUNT_STATE_{account.state}",
        posted_minor=account.posted_minor,
        held_minor=held_minor,
        available_minor=account.posted_minor - held_minor + account.overdraft_limit_minor,
        overdraft_limit_minor=account.overdraft_limit_minor,
        metadata=json.loads(account.metadata),
        version=account.version,
        create_time=to_proto(account.create_time),
        update_time=to_proto(account.update_time),
    )


NamesAccount = GetAccountRequest | FreezeAccountRequest | UnfreezeAccountRequest | CloseAccountRequest


def parse_account_id(request: NamesAccount) -> UUID:
    """The id asked for.

    Raises:
        InvalidRequest: It is no UUID.
    """
    check = Violations()
    account_id = check.uuid("account_id", request.account_id)
    check.raise_if_any()
    return account_id


def render_got(account: StoredAccount) -> GetAccountResponse:
    """The answer to GetAccount."""
    return GetAccountResponse(account=render_account(account))


def parse_update_account(request: UpdateAccountRequest) -> SettingsChange:
    """Which account to change, and how; fields that the mask does not name are not looked at.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    given = request.account
    account_id = check.uuid("account.id", given.id)
    if given.version < 0:
        check.add("account.version", "must be the version that was read, or 0 for any")
    named = check.update_mask(request.update_mask.paths, ("display_name", "metadata", "overdraft_limit_minor"))
    limit_minor = given.overdraft_limit_minor
    if "overdraft_limit_minor" in named and not 0 <= limit_minor <= AMOUNT_MINOR_MAX:
        check.add("account.overdraft_limit_minor", f"must be 0 to {AMOUNT_MINOR_MAX} minor units")
    change = SettingsChange(
        account_id,
        given.version,
        display_name=check.text("account.display_name", given.display_name, longest=DISPLAY_NAME_LENGTH_MAX)
        if "display_name" in named
        else None,
        metadata=check.metadata("account.metadata", given.metadata) if "metadata" in named else None,
        overdraft_limit_minor=limit_minor if "overdraft_limit_minor" in named else None,
    )
    check.raise_if_any()
    return change


def parse_list_accounts(request: ListAccountsRequest, caller: Caller) -> tuple[UUID | None, Page]:
    """Whose accounts, and which page.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    owner_user_id = check.user_id_or_none("owner_user_id", request.owner_user_id, caller)
    page = Page(check.page_size(request.page_size), request.page_token)
    check.raise_if_any()
    return owner_user_id, page


def render_listed(accounts: Sequence[StoredAccount], next_page_token: str) -> ListAccountsResponse:
    """The answer to ListAccounts."""
    return ListAccountsResponse(
        accounts=[render_account(account) for account in accounts], next_page_token=next_page_token
    )


def parse_deposit(
    request: DepositFundsRequest,
    caller: Caller,
    idempotency_key: str,
    reference: ReferenceData,
) -> Movement:
    """Check all fields; the source is one of the currency's cash accounts.

    Raises:
        InvalidRequest: With every violation.
        UnknownCurrency: Nothing else is wrong.
    """
    return _parse_at_counter(request, caller, idempotency_key, reference, Kind.DEPOSIT)


def parse_withdrawal(
    request: WithdrawFundsRequest,
    caller: Caller,
    idempotency_key: str,
    reference: ReferenceData,
) -> Movement:
    """Check all fields; the destination is one of the currency's cash accounts.

    Raises:
        InvalidRequest: With every violation.
        UnknownCurrency: Nothing else is wrong.
    """
    return _parse_at_counter(request, caller, idempotency_key, reference, Kind.WITHDRAWAL)


def _parse_at_counter(
    request: DepositFundsRequest | WithdrawFundsRequest,
    caller: Caller,
    idempotency_key: str,
    reference: ReferenceData,
    kind: Kind,
) -> Movement:
    check = Violations()
    account_id = check.uuid("account_id", request.account_id)
    amount_minor = check.amount("amount_minor", request.amount_minor)
    currency_code = check.currency("currency_code", request.currency_code, reference.currencies)
    request_id = check.request_id(request.request_id, idempotency_key)
    description = check.text("description", request.description, longest=DESCRIPTION_LENGTH_MAX)
    check.raise_if_any()
    cash_id = reference.cash_account(currency_code)
    deposit = kind is Kind.DEPOSIT
    return Movement(
        kind=kind,
        user_id=caller.user_id,
        session_id=caller.session_id,
        request_id=request_id,
        rpc=DEPOSIT_FUNDS if deposit else WITHDRAW_FUNDS,
        # Which cash account took its turn is no part of what was asked.
        fingerprint=fingerprint_of(account_id, amount_minor, currency_code, description),
        source_id=cash_id if deposit else account_id,
        destination_id=account_id if deposit else cash_id,
        amount_minor=amount_minor,
        currency_code=currency_code,
        description=description,
    )


def render_deposited(posted: Posted) -> DepositFundsResponse:
    """The answer to the call that posted."""
    return DepositFundsResponse(transfer=render_posted(posted))


def render_deposit_replayed(row: GetTransferRow, caller: Caller) -> DepositFundsResponse:
    """The answer to a repeated call."""
    return DepositFundsResponse(transfer=render_stored(row, caller), replayed=True)


def render_withdrawn(posted: Posted) -> WithdrawFundsResponse:
    """The answer to the call that posted."""
    return WithdrawFundsResponse(transfer=render_posted(posted))


def render_withdrawal_replayed(row: GetTransferRow, caller: Caller) -> WithdrawFundsResponse:
    """The answer to a repeated call."""
    return WithdrawFundsResponse(transfer=render_stored(row, caller), replayed=True)


def parse_list_entries(request: ListEntriesRequest) -> tuple[UUID, Page]:
    """Which account, and which page.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    account_id = check.uuid("account_id", request.account_id)
    page = Page(check.page_size(request.page_size), request.page_token)
    check.raise_if_any()
    return account_id, page


def render_entries(entries: list[Entry], next_page_token: str) -> ListEntriesResponse:
    """The answer to ListEntries."""
    return ListEntriesResponse(entries=[render_entry(entry) for entry in entries], next_page_token=next_page_token)


def parse_get_balance(request: GetBalanceRequest) -> tuple[UUID, datetime | None]:
    """Which account, and at which instant; None for now.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    account_id = check.uuid("account_id", request.account_id)
    at_time = check.time("at_time", request.at_time) if request.HasField("at_time") else None
    check.raise_if_any()
    return account_id, at_time


def render_balance(balance: Balance) -> GetBalanceResponse:
    """The answer to GetBalance."""
    return GetBalanceResponse(
        balance=BalanceMessage(
            account_id=str(balance.account_id),
            currency_code=balance.currency_code,
            posted_minor=balance.posted_minor,
            held_minor=balance.held_minor,
            available_minor=balance.available_minor,
            sequence=balance.sequence,
            at_time=to_proto(balance.at_time),
        )
    )


def parse_get_statement(request: GetStatementRequest) -> tuple[Period, Page]:
    """Which account, range and page.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    period = _period(check, request)
    page = Page(check.page_size(request.page_size), request.page_token)
    check.raise_if_any()
    return period, page


def parse_export_statement(request: ExportStatementRequest) -> Period:
    """Which account and range.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    period = _period(check, request)
    check.raise_if_any()
    return period


def _period(check: Violations, request: GetStatementRequest | ExportStatementRequest) -> Period:
    period = Period(check.uuid("account_id", request.account_id), *check.time_range(request))
    if period.start_time > period.end_time:
        check.add("end_time", "must not be before start_time")
    return period


def render_statement(page: StatementPage) -> GetStatementResponse:
    """The answer to GetStatement."""
    return GetStatementResponse(
        currency_code=page.currency_code,
        opening_balance_minor=page.range.opening_balance_minor,
        closing_balance_minor=page.range.closing_balance_minor,
        credited_minor=page.range.credited_minor,
        debited_minor=page.range.debited_minor,
        entry_count=page.range.entry_count,
        entries=[render_entry(entry) for entry in page.entries],
        next_page_token=page.next_page_token,
    )


def parse_get_payee(request: GetPayeeRequest, reference: ReferenceData) -> tuple[str, str]:
    """The canonical user name and the currency.

    Raises:
        InvalidRequest: With every violation.
        UnknownCurrency: Nothing else is wrong.
    """
    check = Violations()
    username = check.username("username", request.username)
    currency_code = check.currency("currency_code", request.currency_code, reference.currencies)
    check.raise_if_any()
    return username, currency_code


def render_payee(payee: GetPayeeRow) -> GetPayeeResponse:
    """The answer to GetPayee."""
    return GetPayeeResponse(
        payee=Payee(
            username=payee.username,
            masked_name=masked(payee.full_name),
            account_id=str(payee.account_id),
            currency_code=payee.currency_code,
        )
    )
