"""bank.v1.LedgerService over a real channel."""

from bank.v1 import ledger_service_pb2 as pb
from bank.v1.ledger_service_pb2_grpc import LedgerServiceStub

from server.ledger.verification import Rule
from tests.server.bank_server import ServedBank, refusal_of


class TestVerifyLedger:
    async def test_admin_is_told_what_was_checked(self, served: ServedBank) -> None:
        await served.bank.account(await served.bank.person(), 100)
        admin = await served.bank.person(roles=("DEPOSITOR", "ADMIN"))
        verdict = await LedgerServiceStub(served.channel).VerifyLedger(
            pb.VerifyLedgerRequest(), metadata=served.signed_in(admin)
        )
        assert verdict.consistent
        assert list(verdict.differences) == []
        counts = await served.bank.counts()
        assert (verdict.account_count, verdict.transfer_count, verdict.entry_count) == (
            counts["accounts"],
            counts["transfers"],
            counts["entries"],
        )
        assert verdict.entry_count > 0
        assert verdict.snapshot_time.seconds > 0

    async def test_difference_is_told_with_its_rule(self, served: ServedBank) -> None:
        account_id = await served.bank.account(await served.bank.person(), 100)
        await served.bank.pool.execute("UPDATE accounts SET entry_count = 7 WHERE id = $1", account_id)
        admin = await served.bank.person(roles=("DEPOSITOR", "ADMIN"))
        verdict = await LedgerServiceStub(served.channel).VerifyLedger(
            pb.VerifyLedgerRequest(), metadata=served.signed_in(admin)
        )
        assert not verdict.consistent
        assert list(verdict.differences) == [
            pb.LedgerDifference(rule=pb.LEDGER_RULE_SEQUENCE, subject=str(account_id), expected=7, actual=1)
        ]
        await served.bank.pool.execute("UPDATE accounts SET entry_count = 1 WHERE id = $1", account_id)

    def test_every_rule_has_a_name_in_the_contract(self) -> None:
        names = {name.removeprefix("LEDGER_RULE_") for name in pb.LedgerRule.keys()}  # noqa: SIM118 - no dictionary
        assert names == {"UNSPECIFIED", *Rule}

    async def test_nobody_else_may_ask(self, served: ServedBank) -> None:
        stub = LedgerServiceStub(served.channel)
        assert (await refusal_of(stub.VerifyLedger(pb.VerifyLedgerRequest()))).why == (
            "UNAUTHENTICATED",
            "UNAUTHENTICATED",
        )
        for person in (await served.bank.person(), await served.bank.banker()):
            call = stub.VerifyLedger(pb.VerifyLedgerRequest(), metadata=served.signed_in(person))
            assert (await refusal_of(call)).why == ("PERMISSION_DENIED", "PERMISSION_DENIED")


class TestListCurrencies:
    async def test_anyone_sees_codes_and_digits(self, served: ServedBank) -> None:
        listed = await LedgerServiceStub(served.channel).ListCurrencies(pb.ListCurrenciesRequest())
        codes = [currency.currency_code for currency in listed.currencies]
        assert codes == sorted(codes)
        assert pb.Currency(currency_code="JPY", minor_unit_digits=0, name="Yen") in listed.currencies
