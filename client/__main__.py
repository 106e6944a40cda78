"""The bank from the command line: `python -m client sign-in alice`, then `python -m client accounts` and more."""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

from bank.v1.ledger_service_pb2 import LedgerRule
from bank.v1.session_service_pb2 import CreateSessionResponse

from client.amounts import to_decimal, to_minor
from client.bank import Bank
from client.refusal import BankRefusal


def main(arguments: list[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run one command; the exit status: 0 done, 1 refused, 2 not understood."""
    options = _parser().parse_args(arguments)
    target = environment.get("BANK_TARGET", "localhost:9090")
    file = Path(environment.get("BANK_SESSION_FILE", Path.home() / ".config" / "bank-session"))
    try:
        asyncio.run(_run(options, target, file))
    except (BankRefusal, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m client",
        description="The bank from the command line.",
        epilog="BANK_TARGET names the gateway (localhost:9090), BANK_SESSION_FILE where the session is kept.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    sign_in = commands.add_parser("sign-in", help="begin a session; asks for the password, or reads it from a pipe")
    sign_in.add_argument("username")
    commands.add_parser("sign-out", help="end the session")
    commands.add_parser("sign-out-everywhere", help="end all your sessions")
    commands.add_parser("change-password", help="asks for the current and the new one, or reads two lines from a pipe")
    commands.add_parser("accounts", help="list your accounts")
    transfer = commands.add_parser("transfer", help="move money")
    transfer.add_argument("source", help="id of your account")
    transfer.add_argument("destination", help="id of the account to credit")
    transfer.add_argument("amount", help="like 12.34")
    transfer.add_argument("currency", help="like USD")
    transfer.add_argument("--description", default="")
    transfer.add_argument("--request-id", type=UUID, help="of an earlier try whose outcome is unknown")
    commands.add_parser("entries", help="list what was booked").add_argument("account", help="id of the account")
    commands.add_parser("verify", help="check the whole ledger (admins)")
    return parser


async def _run(options: argparse.Namespace, target: str, file: Path) -> None:
    async with Bank.connect(target) as bank:
        if options.command == "sign-in":
            await bank.sign_in(options.username, _ask("Password: "))
            _keep(bank, file)
            return
        if not file.exists():
            raise ValueError("you are not signed in: python -m client sign-in NAME")
        bank.session = CreateSessionResponse.FromString(file.read_bytes())
        try:
            await _COMMANDS[options.command](bank, options)
        finally:
            _keep(bank, file)


def _ask(prompt: str) -> str:
    """A password, from the terminal unseen, or a line from a pipe."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def _keep(bank: Bank, file: Path) -> None:
    """Write the session where only its owner reads it; tokens may have been exchanged."""
    if bank.session is None:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        output.write(bank.session.SerializeToString())
    unfinished.replace(file)


async def _digits(bank: Bank) -> dict[str, int]:
    return {each.currency_code: each.minor_unit_digits for each in await bank.currencies()}


async def _sign_out(bank: Bank, _: argparse.Namespace) -> None:
    await bank.sign_out()


async def _sign_out_everywhere(bank: Bank, _: argparse.Namespace) -> None:
    print("sessions ended:", await bank.sign_out_everywhere())


async def _change_password(bank: Bank, _: argparse.Namespace) -> None:
    await bank.change_password(_ask("Current password: "), _ask("New password: "))
    print("changed, and your other sessions ended")


async def _accounts(bank: Bank, _: argparse.Namespace) -> None:
    digits = await _digits(bank)
    async for account in bank.accounts():
        available = to_decimal(account.available_minor, digits[account.currency_code])
        print(account.id, available, account.currency_code, account.display_name)


async def _transfer(bank: Bank, options: argparse.Namespace) -> None:
    digits = await _digits(bank)
    if options.currency not in digits:
        raise ValueError(f"{options.currency} is no currency of this bank")
    amount_minor = to_minor(options.amount, digits[options.currency])
    request_id = options.request_id or uuid4()
    # Written before the call: whatever happens to it, the same id tells later what came of it.
    print("request id", request_id, flush=True)
    response = await bank.transfer(
        source_account_id=options.source,
        destination_account_id=options.destination,
        amount_minor=amount_minor,
        currency_code=options.currency,
        description=options.description,
        request_id=request_id,
    )
    print("posted before as" if response.replayed else "posted as", response.transfer.id)


async def _entries(bank: Bank, options: argparse.Namespace) -> None:
    async for entry in bank.entries(options.account):
        time = entry.create_time.ToJsonString()
        print(entry.sequence, time, f"{entry.amount_minor:+d}", entry.balance_after_minor, entry.transfer_id)


async def _verify(bank: Bank, _: argparse.Namespace) -> None:
    verdict = await bank.verify()
    for each in verdict.differences:
        rule = LedgerRule.Name(each.rule)
        print(f"{rule} {each.subject}: {each.expected} expected, {each.actual} found")
    print(f"{verdict.account_count} accounts, {verdict.transfer_count} transfers, {verdict.entry_count} entries")
    if not verdict.consistent:
        raise ValueError("the ledger does not add up")


_COMMANDS = {
    "sign-out": _sign_out,
    "sign-out-everywhere": _sign_out_everywhere,
    "change-password": _change_password,
    "accounts": _accounts,
    "transfer": _transfer,
    "entries": _entries,
    "verify": _verify,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
