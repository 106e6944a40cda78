"""Asks the running service whether its ledger adds up."""

from bank.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from local.demo import signed_in
from local.errors import StackError

# The whole ledger is read, however large it has grown.
_TIMEOUT_S = 600.0


async def verify(server_target: str) -> str:
    """Check every rule of the ledger, as the demo admin.

    Returns:
        What was checked, and where the hash chain ends, in one line.

    Raises:
        StackError: The server refuses, or a rule is broken; names each place.
    """
    async with signed_in(server_target, "admin") as admin:
        ledger = ledger_service_pb2_grpc.LedgerServiceStub(admin.channel)
        request = ledger_service_pb2.VerifyLedgerRequest()
        answer = await ledger.VerifyLedger(request, metadata=admin.metadata, timeout=_TIMEOUT_S)
    return told(answer)


def told(answer: ledger_service_pb2.VerifyLedgerResponse) -> str:
    """The verdict in one line.

    Raises:
        StackError: A rule is broken; names each place.
    """
    if not answer.consistent:
        rules = ledger_service_pb2.LedgerRule
        lines = [
            f"  {rules.Name(d.rule)} {d.subject}: {d.detail or f'{d.expected} expected, {d.actual} found'}"
            for d in answer.differences
        ]
        raise StackError("\n".join(["The ledger does not add up:", *lines]))
    checked = f"{answer.account_count} accounts, {answer.transfer_count} transfers, {answer.entry_count} entries"
    chain = f"; the hash chain ends at {answer.head.position} with {answer.head.hash}" if answer.head.hash else ""
    return f"{checked}: no difference{chain}"
