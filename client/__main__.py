"""The bank from the command line: `python -m client sign-in alice`, then `python -m client accounts` and more."""

import argparse
import asyncio
import getpass
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

from bank.v1.account_service_pb2 import ACCOUNT_STATE_OPEN
from bank.v1.ledger_service_pb2 import LedgerRule
from bank.v1.order_service_pb2 import FulfillmentState, Order, OrderState, PaymentState
from bank.v1.session_service_pb2 import CreateSessionResponse

from client.amounts import to_decimal, to_minor
from client.bank import Bank
from client.refusal import BankRefusal


class KeptBank(Bank):
    """Shares its session with the commands that run beside it, such as a watch, and with later ones."""

    file: Path

    async def refresh_if_ending(self) -> None:
        # Another command may have exchanged the tokens; the old ones would end the session.
        if self.file.exists():
            self.session = CreateSessionResponse.FromString(self.file.read_bytes())
        before = self.session
        await super().refresh_if_ending()
        if self.session is not before:
            self.keep()

    def keep(self) -> None:
        """Write the session where only its owner reads it."""
        if self.session is None:
            self.file.unlink(missing_ok=True)
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            output.write(self.session.SerializeToString())
        unfinished.replace(self.file)


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
    _add_request_id(transfer)
    pay = commands.add_parser("pay", help="move money to somebody by their user name")
    pay.add_argument("username")
    pay.add_argument("amount", help="like 12.34")
    pay.add_argument("currency", help="like USD, which it is if you say nothing", nargs="?", default="USD")
    pay.add_argument("--account", help="id of the account that pays; your oldest open one if you say nothing")
    pay.add_argument("--description", default="")
    _add_request_id(pay)
    payable = commands.add_parser("payable-by-name", help="say whether others find you by your user name")
    payable.add_argument("answer", choices=["yes", "no"])
    _add_shop(commands)
    watch = commands.add_parser("watch", help="show what happens to you, one event a line, until Ctrl-C")
    watch.add_argument("--after", help="first what happened since: the first word of the last line you saw")
    watch.add_argument("--type", action="append", default=[], help="like transfer.posted; may be given several times")
    commands.add_parser("entries", help="list what was booked").add_argument("account", help="id of the account")
    commands.add_parser("verify", help="check the whole ledger (admins)")
    return parser


def _add_shop(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    products = commands.add_parser("products", help="list what is offered")
    products.add_argument("query", help="beginnings of words of the name", nargs="?", default="")
    order = commands.add_parser("order", help="order products of one merchant")
    order.add_argument("items", help="id of a product, or id:pieces", nargs="+", metavar="item")
    order.add_argument("--account", help="id of the account that pays; your oldest open one if you say nothing")
    _add_request_id(order)
    commands.add_parser("orders", help="list orders that you placed, or that were placed with you")
    commands.add_parser("cancel-order", help="call off an order").add_argument("order", help="id of the order")


def _add_request_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--request-id", type=UUID, help="of an earlier try whose outcome is unknown")


async def _run(options: argparse.Namespace, target: str, file: Path) -> None:
    async with KeptBank.connect(target) as bank:
        bank.file = file
        if options.command == "sign-in":
            await bank.sign_in(options.username, _ask("Password: "))
            bank.keep()
            return
        if not file.exists():
            raise ValueError("you are not signed in: python -m client sign-in NAME")
        await _COMMANDS[options.command](bank, options)
        if bank.session is None:
            bank.keep()


def _ask(prompt: str) -> str:
    """A password, from the terminal unseen, or a line from a pipe."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def _is_meant() -> bool:
    """What who sits at a terminal says; programs mean what they write."""
    return not sys.stdin.isatty() or input("Is that whom you mean? [y/N] ").strip().lower() in ("y", "yes")


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
    amount_minor = await _amount_minor(bank, options)
    await _move(bank, options, amount_minor, options.source, options.destination)


async def _pay(bank: Bank, options: argparse.Namespace) -> None:
    amount_minor = await _amount_minor(bank, options)
    payee = await bank.payee(options.username, options.currency)
    source = options.account or await _oldest_account(bank, options.currency)
    print(f"to {payee.username}, {payee.masked_name}", flush=True)
    if not _is_meant():
        raise ValueError("nothing was paid")
    await _move(bank, options, amount_minor, source, payee.account_id)


async def _amount_minor(bank: Bank, options: argparse.Namespace) -> int:
    digits = await _digits(bank)
    if options.currency not in digits:
        raise ValueError(f"{options.currency} is no currency of this bank")
    return to_minor(options.amount, digits[options.currency])


async def _oldest_account(bank: Bank, currency_code: str) -> str:
    """What pays if nothing else is said: the account that others would pay to."""
    found = [
        account.id
        async for account in bank.accounts()
        if (account.currency_code, account.state) == (currency_code, ACCOUNT_STATE_OPEN)
    ]
    if not found:
        raise ValueError(f"you have no open account in {currency_code}")
    return found[-1]


def _new_request_id(options: argparse.Namespace) -> UUID:
    """That of the call about to be made, written down: whatever happens to it, the same id tells later."""
    request_id: UUID = options.request_id or uuid4()
    print("request id", request_id, flush=True)
    return request_id


async def _move(bank: Bank, options: argparse.Namespace, amount_minor: int, source: str, destination: str) -> None:
    request_id = _new_request_id(options)
    response = await bank.transfer(
        source_account_id=source,
        destination_account_id=destination,
        amount_minor=amount_minor,
        currency_code=options.currency,
        description=options.description,
        request_id=request_id,
    )
    print("posted before as" if response.replayed else "posted as", response.transfer.id)


async def _payable_by_name(bank: Bank, options: argparse.Namespace) -> None:
    user = await bank.set_payable_by_name(options.answer == "yes")
    print("others", "find" if user.payable_by_name else "do not find", "you by", user.username)


async def _products(bank: Bank, options: argparse.Namespace) -> None:
    digits = await _digits(bank)
    async for product in bank.products(options.query):
        price = to_decimal(product.price_minor, digits[product.currency_code])
        print(product.id, price, product.currency_code, product.available, product.name)


async def _order(bank: Bank, options: argparse.Namespace) -> None:
    quantities = Counter[str]()
    for item in options.items:
        product_id, _, pieces = item.partition(":")
        if not pieces.isdecimal() and pieces:
            raise ValueError(f"{item!r} is no product: write its id, or id:pieces")
        quantities[product_id] += int(pieces or 1)
    account_id = options.account
    if account_id is None:
        account_id = await _oldest_account(bank, (await bank.product(next(iter(quantities)))).currency_code)
    request_id = _new_request_id(options)
    response = await bank.order(payment_account_id=account_id, quantities=quantities, request_id=request_id)
    print("ordered before as" if response.replayed else "ordered as", response.order.id)


async def _orders(bank: Bank, _: argparse.Namespace) -> None:
    digits = await _digits(bank)
    async for order in bank.orders():
        print(_order_line(order, digits))
        for item in order.items:
            print("   ", item.quantity, item.product_name)


async def _cancel_order(bank: Bank, options: argparse.Namespace) -> None:
    print(_order_line(await bank.cancel_order(options.order), await _digits(bank)))


def _order_line(order: Order, digits: Mapping[str, int]) -> str:
    states = (
        OrderState.Name(order.state).removeprefix("ORDER_STATE_"),
        PaymentState.Name(order.payment_state).removeprefix("PAYMENT_STATE_"),
        FulfillmentState.Name(order.fulfillment_state).removeprefix("FULFILLMENT_STATE_"),
    )
    return " ".join(
        (order.id, to_decimal(order.total_minor, digits[order.currency_code]), order.currency_code, *states)
    )


async def _watch(bank: Bank, options: argparse.Namespace) -> None:
    async for event in bank.watch("now" if options.after is None else options.after, options.type):
        print(event.cursor, event.create_time.ToJsonString(), event.type, event.subject_id, flush=True)


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
    "pay": _pay,
    "payable-by-name": _payable_by_name,
    "products": _products,
    "order": _order,
    "orders": _orders,
    "cancel-order": _cancel_order,
    "watch": _watch,
    "entries": _entries,
    "verify": _verify,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
