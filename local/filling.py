"""Fills a running local system through its API, as its users would: sign-ups, mailed links, products, orders."""

import asyncio
import email
import email.policy
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import TypeVar
from uuid import UUID

from bank.v1.account_service_pb2 import DepositFundsRequest
from bank.v1.account_service_pb2_grpc import AccountServiceStub
from bank.v1.order_service_pb2 import (
    FULFILLMENT_STATE_RESERVED,
    FULFILLMENT_STATE_SHIPPED,
    ORDER_STATE_PLACED,
    DeliverOrderRequest,
    Order,
    ShipOrderRequest,
)
from bank.v1.order_service_pb2_grpc import OrderServiceStub
from bank.v1.product_service_pb2 import AdjustInventoryRequest, CreateProductRequest
from bank.v1.product_service_pb2_grpc import ProductServiceStub
from bank.v1.user_service_pb2 import ListUsersRequest, User
from bank.v1.user_service_pb2_grpc import UserServiceStub

from client.bank import Bank
from client.refusal import BankRefusal
from local.demo import DEMO_PASSWORD
from local.errors import StackError
from local.population import Customer, Fate, Population, Purchase, Ware
from local.progress import Progress

_CURRENCY_CODE = "USD"
_PASSWORDS_AT_ONCE = 4
"""Few passwords are hashed at once, and what waits beyond that is refused."""
_CUSTOMERS_AT_ONCE = 12
_CALLS_AT_ONCE = 8
_WORKER_TIMEOUT_S = 60.0
"""How long the worker may need for a mail or a first account."""
_POLL_S = 0.2
_REFUSALS_MAX = 20
_LINK = re.compile(r"/verify-email\.html#token=([\w-]+)")

Item = TypeVar("Item")
Result = TypeVar("Result")


async def fill(target: str, mail_dir: Path, population: Population, progress: Progress) -> str:
    """Make sure that the population is there, and say what was new.

    Every step carries a request id of its own that is the same in every run, or is looked up before, so that a
    second run, or one after a killed one, repeats nothing and does what is left.

    Args:
        target: Host and port of the gateway, gRPC.
        mail_dir: Where the mail sink writes.
        population: Who and what.
        progress: Shown meanwhile.

    Raises:
        StackError: The service refuses, or the worker sends no mail.
    """
    started = monotonic()
    filling = Filling(target, mail_dir, population, progress)
    try:
        await filling.run()
    except BankRefusal as refusal:
        raise StackError(f"the service refuses: {refusal}") from refusal
    wanted = {"users": population.user_count, "products": population.product_count, "orders": population.order_count}
    counts = ", ".join(f"{count} {what} ({filling.made[what]} new)" for what, count in wanted.items())
    return f"{counts} in {monotonic() - started:.1f} s"


class Filling:
    """One run.

    Attributes:
        made: How many users, products and orders were not there before.
    """

    def __init__(self, target: str, mail_dir: Path, population: Population, progress: Progress) -> None:
        self._target = target
        self._mail_dir = mail_dir
        self._population = population
        self._progress = progress
        self._hashing = asyncio.Semaphore(_PASSWORDS_AT_ONCE)
        self._product_ids: dict[int, str] = {}
        self.made = Counter[str]()

    async def run(self) -> None:
        """Do what is left."""
        async with self._signed_in("banker") as banker, self._signed_in("merchant") as merchant:
            await self._sign_up(banker)
            await self._offer(merchant)
            await self._buy(banker, merchant)

    @asynccontextmanager
    async def _signed_in(self, username: str) -> AsyncIterator[Bank]:
        async with Bank.connect(self._target) as bank:
            async with self._hashing:
                await _patiently(lambda: bank.sign_in(username, DEMO_PASSWORD))
            yield bank
            await bank.sign_out()

    async def _sign_up(self, banker: Bank) -> None:
        present = await _users(banker)
        missing = [each for each in self._population.customers if each.username not in present]
        async with Bank.connect(self._target) as stranger:

            async def sign_up(customer: Customer) -> None:
                await _patiently(
                    lambda: stranger.sign_up(
                        username=customer.username,
                        password=DEMO_PASSWORD,
                        full_name=customer.full_name,
                        email=customer.email,
                    )
                )
                self.made["users"] += 1

            await self._all("signing up", missing, sign_up, at_once=_PASSWORDS_AT_ONCE)
            unproven = {
                each.email
                for each in self._population.customers
                if each.username not in present or not present[each.username].email_verified
            }
            await self._verify(stranger, unproven)

    async def _verify(self, stranger: Bank, unproven: set[str]) -> None:
        """Open the links of the mails, which the worker sends meanwhile; ask again for those that do not come."""
        self._progress.begin("verifying", len(unproven))
        read: set[Path] = set()
        deadline, asked_again = monotonic() + _WORKER_TIMEOUT_S, False
        while unproven:
            for address, token in _mailed(self._mail_dir, read):
                if address in unproven and await _opened(stranger, token):
                    unproven.remove(address)
                    self._progress.step()
                    deadline = monotonic() + _WORKER_TIMEOUT_S
            if not unproven:
                return
            if monotonic() > deadline and asked_again:
                raise StackError(f"no mail came for {min(unproven)}: does the worker run?")
            if monotonic() > deadline or not (asked_again or self.made["users"]):
                # Nobody is new: the mails of an earlier run are gone, or their links have ended.
                await asyncio.gather(*(stranger.resend_verification_email(address) for address in unproven))
                deadline, asked_again = monotonic() + _WORKER_TIMEOUT_S, True
            await asyncio.sleep(_POLL_S)

    async def _offer(self, merchant: Bank) -> None:
        products, account_id = ProductServiceStub(merchant.channel), await _account_id(merchant)

        async def offer(ware: Ware) -> None:
            request = CreateProductRequest(
                request_id=str(self._population.product_request_id(ware)),
                name=ware.name,
                description=ware.description,
                price_minor=ware.price_minor,
                currency_code=_CURRENCY_CODE,
                settlement_account_id=account_id,
                initial_quantity=ware.initial_quantity,
            )
            created = await merchant.call(products.CreateProduct, request)
            self._product_ids[ware.number] = created.product.id
            self.made["products"] += not created.replayed
            bought = self._population.pieces[ware.number]
            if bought:
                request_id = self._request_id(
                    f"stock of product {ware.number} for {self._population.order_count} orders"
                )
                delivery = AdjustInventoryRequest(
                    product_id=created.product.id, request_id=str(request_id), delta=bought, reason="Delivery"
                )
                await merchant.call(products.AdjustInventory, delivery)

        await self._all("offering", self._population.wares, offer, at_once=_CALLS_AT_ONCE)

    async def _buy(self, banker: Bank, merchant: Bank) -> None:
        accounts, orders = AccountServiceStub(banker.channel), OrderServiceStub(merchant.channel)
        self._progress.begin("ordering", self._population.order_count)

        async def visit(customer: Customer) -> None:
            purchases = self._population.purchases[customer]
            async with self._signed_in(customer.username) as buyer:
                account_id = await _account_id(buyer)
                step = f"money of {customer.username} for {self._population.order_count} orders"
                deposit = DepositFundsRequest(
                    account_id=account_id,
                    amount_minor=self._population.spending_minor(customer),
                    currency_code=_CURRENCY_CODE,
                    request_id=str(self._request_id(step)),
                    description="Opening balance",
                )
                await banker.call(accounts.DepositFunds, deposit)
                for purchase in purchases:
                    order = await self._place(buyer, account_id, purchase)
                    await _settle(buyer, merchant, orders, order, purchase.fate)
                    self._progress.step()

        await _in_turn(self._population.purchases, visit, at_once=_CUSTOMERS_AT_ONCE)

    async def _place(self, buyer: Bank, account_id: str, purchase: Purchase) -> Order:
        placed = await buyer.order(
            payment_account_id=account_id,
            quantities={self._product_ids[number]: pieces for number, pieces in purchase.pieces.items()},
            request_id=self._request_id(f"order {purchase.number}"),
        )
        self.made["orders"] += not placed.replayed
        return placed.order

    def _request_id(self, step: str) -> UUID:
        return self._population.request_id(step)

    async def _all(
        self, stage: str, items: list[Item], work: Callable[[Item], Awaitable[None]], *, at_once: int
    ) -> None:
        self._progress.begin(stage, len(items))

        async def one(item: Item) -> None:
            await work(item)
            self._progress.step()

        await _in_turn(items, one, at_once=at_once)


async def _settle(buyer: Bank, merchant: Bank, orders: OrderServiceStub, order: Order, fate: Fate) -> None:
    """What becomes of an order, as far as it has not happened yet."""
    if order.state != ORDER_STATE_PLACED:
        return
    is_reserved = order.fulfillment_state == FULFILLMENT_STATE_RESERVED
    try:
        if fate is Fate.CANCELED and is_reserved:
            await buyer.cancel_order(order.id)
        if fate in (Fate.SHIPPED, Fate.DELIVERED) and is_reserved:
            order = (await merchant.call(orders.ShipOrder, ShipOrderRequest(order_id=order.id))).order
        if fate is Fate.DELIVERED and order.fulfillment_state == FULFILLMENT_STATE_SHIPPED:
            await merchant.call(orders.DeliverOrder, DeliverOrderRequest(order_id=order.id))
    except BankRefusal as refusal:
        # Others may do something about an order too, and were first.
        if refusal.reason != "ORDER_STATE":
            raise


async def _in_turn(items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, at_once: int) -> None:
    """Do the work for each item, for so many at once; the first failure ends all."""
    left = iter(list(items))

    async def run() -> None:
        for item in left:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(run())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _patiently(call: Callable[[], Awaitable[Result]]) -> Result:
    """Call again when too many passwords are being hashed, for a while."""
    for _ in range(_REFUSALS_MAX):
        try:
            return await call()
        except BankRefusal as refusal:
            if refusal.reason != "LOGIN_THROTTLED" or refusal.retry_after_s is None:
                raise
            await asyncio.sleep(refusal.retry_after_s)
    return await call()


async def _users(banker: Bank) -> dict[str, User]:
    found: dict[str, User] = {}
    async for page in banker.pages(UserServiceStub(banker.channel).ListUsers, ListUsersRequest(page_size=200)):
        found |= {user.username: user for user in page.users}
    return found


async def _account_id(bank: Bank) -> str:
    """The oldest account in the currency; the worker opens a new user's first one."""
    deadline = monotonic() + _WORKER_TIMEOUT_S
    while monotonic() < deadline:
        found = [account.id async for account in bank.accounts() if account.currency_code == _CURRENCY_CODE]
        if found:
            return found[-1]
        await asyncio.sleep(_POLL_S)
    raise StackError(f"a user has no account in {_CURRENCY_CODE}: does the worker run?")


def _mailed(mail_dir: Path, read: set[Path]) -> list[tuple[str, str]]:
    """Address and token of each link in a mail that was not read yet."""
    found = []
    for file in sorted(set(mail_dir.glob("[0-9]*.eml")) - read):
        read.add(file)
        mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        body = mail.get_body(("plain",))
        link = _LINK.search(body.get_content()) if body else None
        if link:
            found.append((str(mail["To"]), link[1]))
    return found


async def _opened(stranger: Bank, token: str) -> bool:
    """Whether a mailed link proved an address."""
    try:
        await stranger.verify_email(token)
    except BankRefusal as refusal:
        if refusal.reason != "TOKEN_INVALID":
            raise
        return False
    return True
