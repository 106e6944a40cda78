"""bank.v1.AccountService and the trial balance over a real channel: balances, statements and their export."""

import csv
from io import StringIO
from uuid import UUID

import asyncpg
import grpc
import pytest
from bank.v1 import account_service_pb2 as pb
from bank.v1.ledger_service_pb2 import GetTrialBalanceRequest
from google.protobuf.timestamp_pb2 import Timestamp

from server.accounts.csv_lines import COLUMNS
from server.ledger.movements import Kind
from tests.server.accounts.conftest import Stubs, as_person
from tests.server.bank import Bank, Person, movement
from tests.server.history import fill_history
from tests.server.identity import refusal

INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
NOT_FOUND = ("NOT_FOUND", "NOT_FOUND")
FORBIDDEN = ("PERMISSION_DENIED", "PERMISSION_DENIED")


async def read(call: object) -> str:
    """All of a stream, put together."""
    return b"".join([piece.data async for piece in call]).decode()  # type: ignore[attr-defined]  # any stream


async def stream_refusal(call: object) -> tuple[str, str]:
    async def drain() -> None:
        await read(call)

    return await refusal(drain())


class TestGetBalance:
    async def test_past_has_no_held_amount(self, stubs: Stubs, alice: Person, own: UUID) -> None:
        now = await stubs.accounts.GetBalance(pb.GetBalanceRequest(account_id=str(own)), metadata=as_person(alice))
        assert (now.balance.posted_minor, now.balance.held_minor, now.balance.available_minor) == (100, 0, 100)
        assert now.balance.HasField("held_minor")
        request = pb.GetBalanceRequest(account_id=str(own), at_time=Timestamp(seconds=1))
        then = await stubs.accounts.GetBalance(request, metadata=as_person(alice))
        assert (then.balance.posted_minor, then.balance.sequence) == (0, 0)
        assert not then.balance.HasField("held_minor")
        assert not then.balance.HasField("available_minor")

    async def test_refusals_have_their_reasons(self, stubs: Stubs, bank: Bank, alice: Person, own: UUID) -> None:
        call = stubs.accounts.GetBalance
        far = pb.GetBalanceRequest(account_id=str(own), at_time=Timestamp(seconds=10**12))
        assert await refusal(call(far, metadata=as_person(alice))) == INVALID
        request = pb.GetBalanceRequest(account_id=str(own))
        assert await refusal(call(request, metadata=as_person(await bank.person()))) == NOT_FOUND


class TestGetStatement:
    async def test_pages_are_answered(self, stubs: Stubs, bank: Bank, alice: Person, own: UUID) -> None:
        await bank.ledger.post(movement(alice, own, await bank.account(await bank.person()), 30))
        request = pb.GetStatementRequest(account_id=str(own), page_size=1)
        first = await stubs.accounts.GetStatement(request, metadata=as_person(alice))
        request.page_token = first.next_page_token
        second = await stubs.accounts.GetStatement(request, metadata=as_person(alice))
        assert [entry.amount_minor for page in (first, second) for entry in page.entries] == [100, -30]
        for page in (first, second):
            assert (page.opening_balance_minor, page.closing_balance_minor, page.entry_count) == (0, 70, 2)
            assert (page.credited_minor, page.debited_minor, page.currency_code) == (100, 30, "USD")
        assert second.next_page_token == ""

    async def test_refusals_have_their_reasons(self, stubs: Stubs, bank: Bank, alice: Person, own: UUID) -> None:
        call = stubs.accounts.GetStatement
        backwards = {"start_time": Timestamp(seconds=2), "end_time": Timestamp(seconds=1)}
        for request in (
            pb.GetStatementRequest(account_id="x"),
            pb.GetStatementRequest(account_id=str(own), **backwards),
            pb.GetStatementRequest(account_id=str(own), page_size=-1),
        ):
            assert await refusal(call(request, metadata=as_person(alice))) == INVALID
        request = pb.GetStatementRequest(account_id=str(own))
        assert await refusal(call(request, metadata=as_person(await bank.person()))) == NOT_FOUND
        request.page_token = "x"
        assert await refusal(call(request, metadata=as_person(alice))) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


class TestExportStatement:
    async def test_rows_run_from_the_opening_to_the_closing_balance(
        self, stubs: Stubs, bank: Bank, alice: Person, own: UUID
    ) -> None:
        other = await bank.account(await bank.person())
        await bank.ledger.post(movement(alice, own, other, 30, description='rent, "May"'))
        request = pb.ExportStatementRequest(account_id=str(own))
        call = stubs.accounts.ExportStatement(request, metadata=as_person(alice))
        pieces = [piece async for piece in call]
        assert pieces[0].content_type == "text/csv; charset=utf-8; header=present"
        rows = list(csv.DictReader(StringIO(b"".join(piece.data for piece in pieces).decode(), newline="")))
        assert tuple(rows[0]) == COLUMNS
        assert [(row["row"], row["amount_minor"], row["balance_after_minor"]) for row in rows] == [
            ("OPENING", "", "0"),
            ("ENTRY", "100", "100"),
            ("ENTRY", "-30", "70"),
            ("CLOSING", "", "70"),
        ]
        assert (rows[2]["description"], rows[2]["kind"], rows[2]["currency_code"]) == ('rent, "May"', "TRANSFER", "USD")
        assert rows[2]["time"].endswith("Z")

    async def test_range_begins_with_what_was_there_before(
        self, stubs: Stubs, bank: Bank, alice: Person, own: UUID
    ) -> None:
        later = Timestamp()
        later.FromDatetime((await bank.get(own)).last_entry_time)  # type: ignore[arg-type]  # it has an entry
        later.nanos += 1000
        request = pb.ExportStatementRequest(account_id=str(own), start_time=later)
        text = await read(stubs.accounts.ExportStatement(request, metadata=as_person(alice)))
        assert [line.split(",")[0::7] for line in text.splitlines()[1:]] == [["OPENING", "100"], ["CLOSING", "100"]]

    @pytest.mark.parametrize("description", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\uff1d1"])
    async def test_formula_in_a_description_is_text(
        self, stubs: Stubs, bank: Bank, alice: Person, own: UUID, description: str
    ) -> None:
        other = await bank.account(await bank.person())
        await bank.ledger.post(movement(alice, own, other, 30, description=description))
        request = pb.ExportStatementRequest(account_id=str(own))
        text = await read(stubs.accounts.ExportStatement(request, metadata=as_person(alice)))
        rows = list(csv.DictReader(StringIO(text)))
        assert rows[2]["description"] == f"'{description}"

    async def test_long_past_is_streamed_in_order(self, stubs: Stubs, bank: Bank, alice: Person) -> None:
        long = await bank.account(alice)
        await history(bank, long, 1_234)
        text = await read(
            stubs.accounts.ExportStatement(pb.ExportStatementRequest(account_id=str(long)), metadata=as_person(alice))
        )
        rows = list(csv.DictReader(StringIO(text)))
        assert [row["sequence"] for row in rows[1:-1]] == [str(n) for n in range(1, 1_235)]
        assert (rows[-1]["row"], rows[-1]["balance_after_minor"]) == ("CLOSING", "1234")
        assert await bank.adds_up()

    async def test_refusals_come_before_the_first_piece_with_their_reasons(
        self, stubs: Stubs, bank: Bank, alice: Person, own: UUID
    ) -> None:
        call = stubs.accounts.ExportStatement
        request = pb.ExportStatementRequest(account_id=str(own))
        assert await stream_refusal(call(request)) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert await stream_refusal(call(request, metadata=as_person(await bank.person()))) == NOT_FOUND
        malformed = pb.ExportStatementRequest(account_id="x")
        assert await stream_refusal(call(malformed, metadata=as_person(alice))) == INVALID
        backwards = {"start_time": Timestamp(seconds=2), "end_time": Timestamp(seconds=1)}
        malformed = pb.ExportStatementRequest(account_id=str(own), **backwards)
        assert await stream_refusal(call(malformed, metadata=as_person(alice))) == INVALID

    async def test_failure_on_the_way_leaves_the_closing_row_out(self, stubs: Stubs, bank: Bank, alice: Person) -> None:
        long = await bank.account(alice)
        await history(bank, long, 40_000)
        call = stubs.accounts.ExportStatement(
            pb.ExportStatementRequest(account_id=str(long)), metadata=as_person(alice)
        )
        pieces = aiter(call)
        text = (await anext(pieces)).data.decode()
        assert "OPENING" in text
        await bank.as_owner("REVOKE SELECT ON entries FROM bank_app")
        code = None
        try:
            async for piece in pieces:
                text += piece.data.decode()
        except grpc.aio.AioRpcError as failed:
            code = failed.code()
        assert (code, "CLOSING" in text) == (grpc.StatusCode.INTERNAL, False)

    async def test_reader_who_leaves_ends_it(self, stubs: Stubs, bank: Bank, alice: Person) -> None:
        long = await bank.account(alice)
        await history(bank, long, 40_000)
        for _ in range(30):  # more than there are connections to the database
            call = stubs.accounts.ExportStatement(
                pb.ExportStatementRequest(account_id=str(long)), metadata=as_person(alice)
            )
            await anext(aiter(call))
            call.cancel()
        request = pb.GetAccountRequest(account_id=str(long))
        assert (await stubs.accounts.GetAccount(request, metadata=as_person(alice))).account.posted_minor == 40_000


class TestGetTrialBalance:
    async def test_every_currency_sums_to_zero(self, stubs: Stubs, bank: Bank, alice: Person, own: UUID) -> None:
        euros = await bank.account(alice, 40, "EUR")
        other = await bank.account(await bank.person(), 0)
        await bank.ledger.post(movement(alice, own, other, 30, kind=Kind.HOLD))
        await bank.ledger.post(movement(alice, own, other, 10))
        admin = await bank.person(roles=("DEPOSITOR", "ADMIN"))
        answer = await stubs.ledger.GetTrialBalance(GetTrialBalanceRequest(), metadata=as_person(admin))
        found = {
            balance.currency_code: (
                balance.customer_posted_minor,
                balance.cash_posted_minor,
                balance.difference_minor,
                balance.held_minor,
                balance.customer_account_count,
            )
            for balance in answer.balances
        }
        assert found == {"EUR": (40, -40, 0, 0, 1), "USD": (100, -100, 0, 30, 2)}
        assert answer.snapshot_time.seconds > 0
        assert await bank.posted_minor(euros) == 40

    async def test_only_admins(self, stubs: Stubs, bank: Bank) -> None:
        call = stubs.ledger.GetTrialBalance
        assert await refusal(call(GetTrialBalanceRequest(), metadata=as_person(await bank.banker()))) == FORBIDDEN


async def history(bank: Bank, account_id: UUID, count: int) -> None:
    owner = await asyncpg.connect(bank.owner_url)
    try:
        await fill_history(owner, account_id, count)
    finally:
        await owner.close()
