"""Who may call what, as data: how each RPC is called, by whom and about whose things, and the table of the answers."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from local.demo import DEMO_PASSWORD
from local.settings import ROOT
from server.tokens import RESET_PASSWORD, VERIFY_EMAIL
from tests.e2e.conftest import ABSENT, transfer_fields
from tests.e2e.stage import NEW_PASSWORD, Someone, Stage, signing_up

TABLE = Path(__file__).with_name("access_matrix.md")

CALLERS = {
    "nobody": "no access token",
    "expired": "an access token of yesterday",
    "refresh": "a refresh token in place of an access token",
    "mailed": "a mailed token in place of an access token",
    "unverified": "a user whose address is not proven",
    "disabled": "a user who was disabled, with a session from before",
    "user": "a user without other roles",
    "party": "a user who is the other party of what is another's: it pays, or is to pay, into their account",
    "merchant": "a user with ROLE_MERCHANT",
    "banker": "a user with ROLE_BANKER",
    "admin": "a user with ROLE_ADMIN",
}
PROVING_NOTHING = ("nobody", "expired", "refresh", "mailed")
STAFF = ("banker", "admin")


class Whose(StrEnum):
    """Whose the thing is that the call names."""

    NOBODYS = "—"
    OWN = "own"
    ANOTHERS = "another's"
    ABSENT = "absent"


class Cell:
    """One call: by a kind of caller, about somebody's thing.

    Attributes:
        caller: Who calls; of the kinds that prove nothing, whose token it is or was.
        owner: Whose the thing is; not the caller unless it is their own.
    """

    def __init__(self, stage: Stage, kind: str, whose: Whose, caller: Someone, owner: Someone, third: str) -> None:
        self.stage = stage
        self.kind = kind
        self.whose = whose
        self.caller = caller
        self.owner = owner
        self._third = third

    @property
    def absent(self) -> bool:
        return self.whose is Whose.ABSENT

    @property
    def user(self) -> str:
        return ABSENT if self.absent else str(self.owner.user_id)

    @property
    def email(self) -> str:
        return f"{uuid4().hex}@example.com" if self.absent else self.owner.email

    async def account(self, amount_minor: int = 100) -> str:
        return ABSENT if self.absent else await self.stage.account(self.owner, amount_minor)

    async def payee(self) -> str:
        """The name of the owner, whom payments may find by it."""
        if self.absent:
            return f"u{uuid4().hex[:16]}"
        await self.account()
        change = "UPDATE users SET payable_by_name = true WHERE id = $1"
        await self.stage.bank.owner.execute(change, self.owner.user_id)
        return self.owner.username

    async def receiver(self) -> str:
        """The account that what is named pays into."""
        mutual = self.kind == "party" and self.whose is Whose.ANOTHERS
        return await self.stage.account(self.caller, 0) if mutual else self._third

    async def made(self, rpc: str, name: str, **others: Any) -> str:
        """The id of something paid from the owner's account, made by them."""
        if self.absent:
            return ABSENT
        fields = transfer_fields(await self.account(), await self.receiver(), **others)
        reply = await self.stage.done(rpc, fields, self.owner.token)
        return str(reply[name]["id"])

    async def transfer(self) -> str:
        return await self.made("CreateTransfer", "transfer")

    async def hold(self) -> str:
        return await self.made("CreateHold", "hold")

    async def product(self) -> str:
        """One of the owner's."""
        return ABSENT if self.absent else await self.stage.product(await self.account(0))

    async def order(self) -> str:
        """One that the owner placed, with whoever the receiver is."""
        return ABSENT if self.absent else await self.stage.order(self.owner, await self.receiver())

    async def sale(self) -> str:
        """One that was placed with the owner."""
        return await self.stage.order(await self.stage.someone(), await self.account(0))

    async def webhook(self) -> str:
        """One of the owner's, whether or not they may add one."""
        if self.absent:
            return ABSENT
        webhook_id = await self.stage.bank.owner.fetchval(
            "INSERT INTO webhooks (id, user_id, url, types, description, everybodys, position, due_time)"
            " VALUES (gen_random_uuid(), $1, 'http://127.0.0.1:1024/', '{}', '', false, 0, NULL) RETURNING id",
            self.owner.user_id,
        )
        return str(webhook_id)

    async def schedule(self) -> str:
        return await self.made("CreateScheduledTransfer", "scheduled_transfer", execute_time=next_month())


def next_month() -> str:
    return (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")


Fields: TypeAlias = dict[str, Any]
Build: TypeAlias = Callable[[Cell], Awaitable[Fields]]


@dataclass(frozen=True)
class Call:
    """How an RPC is called, and about whose things."""

    rpc: str
    build: Build
    whose: tuple[Whose, ...] = (Whose.OWN, Whose.ANOTHERS, Whose.ABSENT)


CALLS: dict[str, Call] = {}
"""By the name of the RPC, with what is special about the call behind it where an RPC has several kinds."""


def call(name: str, *whose: Whose) -> Callable[[Build], Build]:
    """Enter how an RPC is called; without `whose`: about one's own, another's and an absent thing."""

    def enter(build: Build) -> Build:
        CALLS[name] = Call(name.split()[0], build, whose or Call.whose)
        return build

    return enter


ENDLESS = frozenset({"WatchEvents", "StreamEvents"})


def rpcs_of_the_contract() -> set[str]:
    """Every RPC of ours in the descriptor set that the gateway loads.

    But for the streams of the feed, which have no end: tests/server/events and test_events.py call those.
    """
    files = FileDescriptorSet.FromString((ROOT / "gen" / "bank.binpb").read_bytes()).file
    return {
        method.name
        for file in files
        if file.package == "bank.v1"
        for service in file.service
        for method in service.method
        if method.name not in ENDLESS
    }


def money(**others: Any) -> Fields:
    return {"amount_minor": 1, "currency_code": "USD", "request_id": str(uuid4()), **others}


def _enter_all() -> None:
    """Every RPC, in the order of the contract."""
    alone = (Whose.NOBODYS,)

    def named(rpc: str, field: str, thing: Callable[[Cell], Awaitable[str]], **others: Any) -> None:
        async def build(cell: Cell) -> Fields:
            return {field: await thing(cell), **others}

        call(rpc)(build)

    def plain(rpc: str, make: Callable[[Cell], Fields], *whose: Whose) -> None:
        async def build(cell: Cell) -> Fields:
            return make(cell)

        call(rpc, *whose)(build)

    _enter_users(plain, alone)
    _enter_sessions(plain, alone)
    _enter_accounts(named, plain)
    _enter_transfers(named, plain, alone)
    _enter_shop(named, plain, alone)
    _enter_webhooks(named, plain, alone)
    for rpc in ("VerifyLedger", "GetTrialBalance", "ListCurrencies", "ListAuditEvents"):
        plain(rpc, lambda cell: {}, *alone)
    plain("ListAuditEvents of a user", lambda cell: {"user_id": cell.user})


Named: TypeAlias = Callable[..., None]
Thing: TypeAlias = Callable[[Cell], Awaitable[str]]


def _enter_users(plain: Named, alone: tuple[Whose, ...]) -> None:
    plain("CreateUser", lambda cell: signing_up(), *alone)
    plain("GetUser", lambda cell: {"user_id": cell.user})
    plain("ListUsers", lambda cell: {}, *alone)
    plain("UpdateUser", lambda cell: {"user": {"id": cell.user, "full_name": "New Name"}, "update_mask": "full_name"})
    plain("SetUserRoles", lambda cell: {"user_id": cell.user, "roles": ["ROLE_MERCHANT"]})
    plain("DisableUser", lambda cell: {"user_id": cell.user})
    plain("EnableUser", lambda cell: {"user_id": cell.user})

    @call("VerifyEmail")
    async def verify(cell: Cell) -> Fields:
        owner = cell.owner
        if cell.absent:
            return {"token": secrets.token_urlsafe(48)}
        await cell.stage.bank.owner.execute("UPDATE users SET email_verified = false WHERE id = $1", owner.user_id)
        return {"token": await cell.stage.mail_token(owner, VERIFY_EMAIL)}

    plain("ResendVerificationEmail", lambda cell: {"email": cell.email})
    plain(
        "ChangeEmail",
        lambda cell: {
            "user_id": cell.user,
            "current_password": DEMO_PASSWORD,
            "new_email": f"{uuid4().hex}@example.com",
        },
    )
    plain(
        "ChangePassword",
        lambda cell: {"user_id": cell.user, "current_password": DEMO_PASSWORD, "new_password": NEW_PASSWORD},
    )
    plain("RequestPasswordReset", lambda cell: {"email": cell.email})

    @call("ResetPassword")
    async def reset(cell: Cell) -> Fields:
        made_up = secrets.token_urlsafe(48)
        token = made_up if cell.absent else await cell.stage.mail_token(cell.owner, RESET_PASSWORD)
        return {"token": token, "new_password": NEW_PASSWORD}


def _enter_sessions(plain: Named, alone: tuple[Whose, ...]) -> None:
    # Whoever knows the password is the user: somebody else does not know it.
    plain(
        "CreateSession",
        lambda cell: {
            "username": f"u{uuid4().hex[:16]}" if cell.absent else cell.owner.username,
            "password": DEMO_PASSWORD if cell.whose is Whose.OWN else NEW_PASSWORD,
        },
    )

    @call("RefreshSession")
    async def refresh(cell: Cell) -> Fields:
        made_up = secrets.token_urlsafe(32)
        return {"refresh_token": made_up if cell.absent else await cell.stage.refresh_token(cell.owner)}

    plain("ListSessions", lambda cell: {}, *alone)
    plain("RevokeSession", lambda cell: {"session_id": ABSENT if cell.absent else str(cell.owner.session_id)})
    plain("RevokeAllSessions", lambda cell: {}, *alone)


def _enter_accounts(named: Named, plain: Named) -> None:
    plain(
        "CreateAccount",
        lambda cell: {"currency_code": "USD", "request_id": str(uuid4()), "owner_user_id": cell.user},
    )
    plain("ListAccounts", lambda cell: {"owner_user_id": cell.user})
    for rpc in ("GetAccount", "FreezeAccount", "UnfreezeAccount"):
        named(rpc, "account_id", Cell.account)
    named("CloseAccount", "account_id", lambda cell: cell.account(0))
    for rpc in ("ListEntries", "GetBalance", "GetStatement", "ExportStatement"):
        named(rpc, "account_id", Cell.account)

    @call("GetPayee")
    async def find(cell: Cell) -> Fields:
        return {"username": await cell.payee(), "currency_code": "USD"}

    @call("UpdateAccount")
    async def rename(cell: Cell) -> Fields:
        return {"account": {"id": await cell.account(), "display_name": "Rent"}, "update_mask": "display_name"}

    @call("UpdateAccount overdraft_limit_minor")
    async def lend(cell: Cell) -> Fields:
        account = {"id": await cell.account(), "overdraft_limit_minor": "5"}
        return {"account": account, "update_mask": "overdraft_limit_minor"}

    @call("DepositFunds")
    @call("WithdrawFunds")
    async def at_the_counter(cell: Cell) -> Fields:
        return money(account_id=await cell.account())


def _enter_transfers(named: Named, plain: Named, alone: tuple[Whose, ...]) -> None:
    async def pay(cell: Cell) -> Fields:
        # From another's account into the caller's own: what a thief would try.
        into = await cell.receiver() if cell.whose is Whose.OWN else await cell.stage.account(cell.caller, 0)
        return transfer_fields(await cell.account(), into)

    call("CreateTransfer")(pay)
    call("CreateHold")(pay)

    @call("CreateScheduledTransfer")
    async def schedule(cell: Cell) -> Fields:
        return {**await pay(cell), "execute_time": next_month()}

    @call("BatchCreateTransfers")
    async def batch(cell: Cell) -> Fields:
        return {"transfers": [await pay(cell)], "mode": "BATCH_MODE_ATOMIC"}

    @call("ReverseTransfer")
    async def reverse(cell: Cell) -> Fields:
        return {"transfer_id": await cell.transfer(), "request_id": str(uuid4()), "full": True}

    @call("CaptureHold")
    async def capture(cell: Cell) -> Fields:
        return {"hold_id": await cell.hold(), "request_id": str(uuid4()), "full": True}

    named("VoidHold", "hold_id", Cell.hold)
    named("GetHold", "hold_id", Cell.hold)
    named("GetTransfer", "transfer_id", Cell.transfer)
    named("GetScheduledTransfer", "scheduled_transfer_id", Cell.schedule)
    named("CancelScheduledTransfer", "scheduled_transfer_id", Cell.schedule)
    plain("ListEvents", lambda cell: {}, *alone)
    for rpc in ("ListTransfers", "ListHolds", "ListScheduledTransfers"):
        plain(rpc, lambda cell: {}, *alone)
        named(f"{rpc} of an account", "account_id", Cell.account)


def _enter_shop(named: Named, plain: Named, alone: tuple[Whose, ...]) -> None:
    @call("CreateProduct")
    async def offer(cell: Cell) -> Fields:
        fields = {"name": "Kite", "price_minor": 5, "currency_code": "USD", "request_id": str(uuid4())}
        return {**fields, "settlement_account_id": await cell.account(0)}

    plain("ListProducts", lambda cell: {}, *alone)
    named("GetProduct", "product_id", Cell.product)
    named("ArchiveProduct", "product_id", Cell.product)

    @call("UpdateProduct")
    async def change(cell: Cell) -> Fields:
        return {"product": {"id": await cell.product(), "price_minor": "7"}, "update_mask": "price_minor"}

    @call("AdjustInventory")
    async def adjust(cell: Cell) -> Fields:
        counted = {"request_id": str(uuid4()), "delta": 1, "reason": "counted"}
        return {"product_id": await cell.product(), **counted}

    named("ListInventoryMovements", "product_id", Cell.product)

    @call("CreateOrder")
    async def buy(cell: Cell) -> Fields:
        # With another's money, from oneself: what a thief would try.
        into = await cell.receiver() if cell.whose is Whose.OWN else await cell.stage.account(cell.caller, 0)
        items = [{"product_id": await cell.stage.product(into), "quantity": 1}]
        return {"payment_account_id": await cell.account(), "items": items, "request_id": str(uuid4())}

    plain("ListOrders", lambda cell: {}, *alone)
    named("GetOrder", "order_id", Cell.order)
    named("CancelOrder", "order_id", Cell.order)

    async def sold(cell: Cell) -> str:
        return await cell.stage.shipped(await cell.sale())

    async def bought(cell: Cell) -> str:
        return ABSENT if cell.absent else await cell.stage.shipped(await cell.order())

    def sellers(rpc: str, as_buyer: Thing, as_seller: Thing, make: Callable[[], Fields]) -> None:
        async def by_buyer(cell: Cell) -> Fields:
            return {"order_id": await as_buyer(cell), **make()}

        async def by_seller(cell: Cell) -> Fields:
            return {"order_id": await as_seller(cell), **make()}

        call(rpc)(by_buyer)
        call(f"{rpc} placed with", Whose.OWN, Whose.ANOTHERS)(by_seller)

    sellers("ShipOrder", Cell.order, Cell.sale, dict)
    sellers("DeliverOrder", bought, sold, dict)
    sellers("RefundOrder", bought, sold, lambda: {"request_id": str(uuid4()), "full": True})


def _enter_webhooks(named: Named, plain: Named, alone: tuple[Whose, ...]) -> None:
    plain("CreateWebhook", lambda cell: {"request_id": str(uuid4()), "url": "http://127.0.0.1:1024/"}, *alone)
    plain("ListWebhooks", lambda cell: {}, *alone)
    for rpc in ("GetWebhook", "DeleteWebhook", "RotateWebhookSecret", "ListWebhookDeliveries"):
        named(rpc, "webhook_id", Cell.webhook)

    @call("UpdateWebhook")
    async def describe(cell: Cell) -> Fields:
        return {"webhook": {"id": await cell.webhook(), "description": "new"}, "update_mask": "description"}

    @call("RedeliverWebhookDelivery")
    async def redeliver(cell: Cell) -> Fields:
        webhook_id = await cell.webhook()
        delivery_id = ABSENT
        if not cell.absent:
            delivery_id = await cell.stage.bank.owner.fetchval(
                "INSERT INTO webhook_deliveries (id, webhook_id, position, event_type, subject_id, state,"
                " next_attempt_time, end_time)"
                " SELECT gen_random_uuid(), $1, position, type, subject_id, 'DELIVERED', NULL, now() FROM events"
                " WHERE position = 1 RETURNING id",
                webhook_id,
            )
        return {"webhook_id": webhook_id, "delivery_id": str(delivery_id)}


_enter_all()
Key: TypeAlias = tuple[str, str, str]
"""Call, whose, kind of caller."""


def keys_of(name: str) -> list[Key]:
    return [(name, whose, kind) for whose in CALLS[name].whose for kind in CALLERS]


def read_table() -> dict[Key, str]:
    """What each call is answered, as the table says."""
    found: dict[Key, str] = {}
    for line in TABLE.read_text().splitlines() if TABLE.exists() else []:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 2 + len(CALLERS) and cells[0] not in ("Call", "") and set(cells[0]) != {"-"}:
            found.update({(cells[0], cells[1], kind): cell for kind, cell in zip(CALLERS, cells[2:], strict=True)})
    return found


def write_table(answers: Mapping[Key, str]) -> None:
    """Write the table for review."""
    rows = [["Call", "Whose", *CALLERS]]
    rows += [
        [name, str(whose), *(answers.get((name, whose, kind), "?") for kind in CALLERS)]
        for name in sorted(CALLS)
        for whose in CALLS[name].whose
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    legend = [f"- **{kind}**: {meaning}" for kind, meaning in CALLERS.items()]
    TABLE.write_text(
        "\n".join(
            [
                "# Who may call what",
                "",
                "What every RPC answers to every kind of caller, about a thing of their own, of somebody else and one",
                "that does not exist: the code, with the reason behind it where that is another word. Compared with a",
                "running service by `test_access_matrix.py`, which also says how to write this file anew.",
                "",
                *legend,
                "",
                "Own and another's: of transfers, holds, schedules and orders, whose account pays; of an order placed",
                "with somebody, who sells.",
                "",
                *lines,
                "",
            ]
        )
    )
