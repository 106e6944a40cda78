"""bank.v1.AccountService: parse, call, render."""

from collections.abc import AsyncGenerator
from typing import Any

import grpc
from bank.v1.account_service_pb2 import (
    CloseAccountRequest,
    CloseAccountResponse,
    CreateAccountRequest,
    CreateAccountResponse,
    DepositFundsRequest,
    DepositFundsResponse,
    ExportStatementRequest,
    FreezeAccountRequest,
    FreezeAccountResponse,
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
    UnfreezeAccountRequest,
    UnfreezeAccountResponse,
    UpdateAccountRequest,
    UpdateAccountResponse,
    WithdrawFundsRequest,
    WithdrawFundsResponse,
)
from bank.v1.account_service_pb2_grpc import AccountServiceServicer
from google.api.httpbody_pb2 import HttpBody

from server.accounts.csv_lines import CONTENT_TYPE, closing_line, entry_lines, opening_lines
from server.accounts.messages import (
    parse_account_id,
    parse_create_account,
    parse_deposit,
    parse_export_statement,
    parse_get_balance,
    parse_get_payee,
    parse_get_statement,
    parse_list_accounts,
    parse_list_entries,
    parse_update_account,
    parse_withdrawal,
    render_account,
    render_balance,
    render_created,
    render_deposit_replayed,
    render_deposited,
    render_entries,
    render_got,
    render_listed,
    render_payee,
    render_statement,
    render_withdrawal_replayed,
    render_withdrawn,
)
from server.accounts.operations import Accounts
from server.accounts.payees import Payees
from server.accounts.standing import AccountStanding
from server.accounts.statements import Statements
from server.caller import current_caller, current_idempotency_key
from server.ledger.commit_queue import CommitQueue
from server.ledger.movements import Posted, Replay
from server.reference_data import ReferenceData
from server.transfers.operations import TransferReader

Context = grpc.aio.ServicerContext[Any, Any]


class AccountServicer(AccountServiceServicer):
    """bank.v1.AccountService."""

    def __init__(
        self,
        accounts: Accounts,
        standing: AccountStanding,
        statements: Statements,
        payees: Payees,
        ledger: CommitQueue,
        transfers: TransferReader,
        reference: ReferenceData,
    ) -> None:
        self._accounts = accounts
        self._standing = standing
        self._statements = statements
        self._payees = payees
        self._ledger = ledger
        self._transfers = transfers
        self._reference = reference

    async def CreateAccount(self, request: CreateAccountRequest, context: Context) -> CreateAccountResponse:
        caller = current_caller()
        new = parse_create_account(request, caller, current_idempotency_key(), self._reference)
        return render_created(*await self._accounts.open(new, caller))

    async def GetAccount(self, request: GetAccountRequest, context: Context) -> GetAccountResponse:
        return render_got(await self._accounts.get(parse_account_id(request), current_caller()))

    async def ListAccounts(self, request: ListAccountsRequest, context: Context) -> ListAccountsResponse:
        caller = current_caller()
        return render_listed(*await self._accounts.page(*parse_list_accounts(request, caller), caller))

    async def UpdateAccount(self, request: UpdateAccountRequest, context: Context) -> UpdateAccountResponse:
        account = await self._standing.update(parse_update_account(request), current_caller())
        return UpdateAccountResponse(account=render_account(account))

    async def FreezeAccount(self, request: FreezeAccountRequest, context: Context) -> FreezeAccountResponse:
        account = await self._standing.freeze(parse_account_id(request), current_caller())
        return FreezeAccountResponse(account=render_account(account))

    async def UnfreezeAccount(self, request: UnfreezeAccountRequest, context: Context) -> UnfreezeAccountResponse:
        account = await self._standing.unfreeze(parse_account_id(request), current_caller())
        return UnfreezeAccountResponse(account=render_account(account))

    async def CloseAccount(self, request: CloseAccountRequest, context: Context) -> CloseAccountResponse:
        account = await self._standing.close(parse_account_id(request), current_caller())
        return CloseAccountResponse(account=render_account(account))

    async def DepositFunds(self, request: DepositFundsRequest, context: Context) -> DepositFundsResponse:
        caller = current_caller()
        movement = parse_deposit(request, caller, current_idempotency_key(), self._reference)
        outcome = await self._ledger.post(movement)
        if isinstance(outcome, Replay):
            row, _ = await self._transfers.replayed(outcome.result_id, caller)
            return render_deposit_replayed(row, caller)
        assert isinstance(outcome, Posted)  # what moves money posts a transfer
        return render_deposited(outcome)

    async def WithdrawFunds(self, request: WithdrawFundsRequest, context: Context) -> WithdrawFundsResponse:
        caller = current_caller()
        movement = parse_withdrawal(request, caller, current_idempotency_key(), self._reference)
        outcome = await self._ledger.post(movement)
        if isinstance(outcome, Replay):
            row, _ = await self._transfers.replayed(outcome.result_id, caller)
            return render_withdrawal_replayed(row, caller)
        assert isinstance(outcome, Posted)  # what moves money posts a transfer
        return render_withdrawn(outcome)

    async def ListEntries(self, request: ListEntriesRequest, context: Context) -> ListEntriesResponse:
        return render_entries(*await self._accounts.entries(*parse_list_entries(request), current_caller()))

    async def GetBalance(self, request: GetBalanceRequest, context: Context) -> GetBalanceResponse:
        return render_balance(await self._statements.balance(*parse_get_balance(request), current_caller()))

    async def GetStatement(self, request: GetStatementRequest, context: Context) -> GetStatementResponse:
        return render_statement(await self._statements.page(*parse_get_statement(request), current_caller()))

    async def ExportStatement(
        self, request: ExportStatementRequest, context: Context
    ) -> AsyncGenerator[HttpBody, None]:
        period = parse_export_statement(request)
        caller = current_caller()
        account, whole = await self._statements.open(period, caller)
        code = account.currency_code
        yield HttpBody(content_type=CONTENT_TYPE, data=opening_lines(period, whole, code))
        async for rows in self._statements.lines(account.id, whole, caller):
            yield HttpBody(data=entry_lines(rows, code))
        # Who does not get this line knows that something went wrong on the way.
        yield HttpBody(data=closing_line(period, whole, code))

    async def GetPayee(self, request: GetPayeeRequest, context: Context) -> GetPayeeResponse:
        return render_payee(await self._payees.find(*parse_get_payee(request, self._reference), current_caller()))
