"""bank.v1.AccountService: parse, call, render."""

from typing import Any

import grpc
from bank.v1.account_service_pb2 import (
    CreateAccountRequest,
    CreateAccountResponse,
    DepositFundsRequest,
    DepositFundsResponse,
    GetAccountRequest,
    GetAccountResponse,
    ListAccountsRequest,
    ListAccountsResponse,
    ListEntriesRequest,
    ListEntriesResponse,
    WithdrawFundsRequest,
    WithdrawFundsResponse,
)
from bank.v1.account_service_pb2_grpc import AccountServiceServicer

from server.accounts.messages import (
    parse_create_account,
    parse_deposit,
    parse_get_account,
    parse_list_accounts,
    parse_list_entries,
    parse_withdrawal,
    render_created,
    render_deposit_replayed,
    render_deposited,
    render_entries,
    render_got,
    render_listed,
    render_withdrawal_replayed,
    render_withdrawn,
)
from server.accounts.operations import Accounts
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
        ledger: CommitQueue,
        transfers: TransferReader,
        reference: ReferenceData,
    ) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._transfers = transfers
        self._reference = reference

    async def CreateAccount(self, request: CreateAccountRequest, context: Context) -> CreateAccountResponse:
        caller = current_caller()
        new = parse_create_account(request, caller, current_idempotency_key(), self._reference)
        return render_created(*await self._accounts.open(new, caller))

    async def GetAccount(self, request: GetAccountRequest, context: Context) -> GetAccountResponse:
        return render_got(await self._accounts.get(parse_get_account(request), current_caller()))

    async def ListAccounts(self, request: ListAccountsRequest, context: Context) -> ListAccountsResponse:
        caller = current_caller()
        return render_listed(*await self._accounts.page(*parse_list_accounts(request, caller), caller))

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
