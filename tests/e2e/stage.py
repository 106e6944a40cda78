"""Users and what is theirs, new for every call, so that no call meets what another one left."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

from uuid_utils.compat import uuid7

from server.config import Settings
from server.keys import Keys, load
from server.tokens import VERIFY_EMAIL, AccessTokens, MailTokens, digest
from tests.e2e.conftest import Bank

NEW_PASSWORD = "nine grey geese at dawn"


@dataclass(frozen=True)
class Someone:
    """A user with a live session."""

    user_id: UUID
    username: str
    session_id: UUID
    token: str
    email: str


class Stage:
    """Makes users with what is theirs, by SQL where that is quicker than a call."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        settings = Settings(
            BANK_ENVIRONMENT="test",
            database_url="-",
            redis_url="-",
            token_keys_file=bank.stack.state_dir / "token_keys.json",
        )
        self._keys: Keys = load(settings)
        self._tokens = AccessTokens(self._keys, "paseto", 900)

    @cached_property
    def banker(self) -> str:
        return self.bank.people["banker"].token

    async def someone(self, *roles: str) -> Someone:
        user_id, session_id = uuid7(), uuid7()
        username = f"u{user_id.hex[-16:]}"
        email = f"{username}@example.com"
        await self.bank.owner.execute(
            "INSERT INTO users (id, username, password_hash, full_name, email, email_verified, roles)"
            " SELECT $1, $2, password_hash, 'Somebody', $3, true, $4 FROM users WHERE username = 'alice'",
            *(user_id, username, email, sorted({"DEPOSITOR", *roles})),
        )
        await self.session(user_id, session_id)
        token, _ = self._tokens.issue(user_id, session_id, datetime.now(UTC))
        return Someone(user_id, username, session_id, token, email)

    async def session(self, user_id: UUID, session_id: UUID) -> None:
        await self.bank.owner.execute(
            "INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)"
            " VALUES ($1, $2, 'test', '127.0.0.1', now() + '1 h', now() + '1 h')",
            *(session_id, user_id),
        )

    def expired_token(self, owner: Someone) -> str:
        return self._tokens.issue(owner.user_id, owner.session_id, datetime.now(UTC) - timedelta(days=1))[0]

    async def refresh_token(self, owner: Someone) -> str:
        token = secrets.token_urlsafe(32)
        await self.bank.owner.execute(
            "INSERT INTO refresh_tokens (token_hash, session_id) VALUES ($1, $2)", digest(token), owner.session_id
        )
        return token

    async def mail_token(self, owner: Someone, purpose: str) -> str:
        token_id = uuid7()
        token = MailTokens(self._keys.mail_token_key).make(purpose, token_id, owner.user_id)
        await self.bank.owner.execute(
            "INSERT INTO mail_tokens (id, user_id, purpose, email, token_hash, expire_time)"
            " VALUES ($1, $2, $3, $4, $5, now() + '1 h')",
            *(token_id, owner.user_id, purpose, owner.email, digest(token)),
        )
        return token

    async def account(self, owner: Someone, amount_minor: int = 100) -> str:
        account_id = str(uuid7())
        await self.bank.owner.execute(
            "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')",
            *(account_id, owner.user_id),
        )
        if amount_minor:
            fields = {"account_id": account_id, "currency_code": "USD", "request_id": str(uuid4())}
            await self.done("DepositFunds", {**fields, "amount_minor": amount_minor}, self.banker)
        return account_id

    async def product(self, settlement_account_id: str) -> str:
        """Ten pieces, sold by the owner of the account, merchant or not."""
        product_id = str(uuid7())
        await self.bank.owner.execute(
            "WITH offered AS (INSERT INTO products (id, merchant_user_id, name, description, search_words, price_minor,"
            " currency_code, settlement_account_id, on_hand, movement_count)"
            " SELECT $1, owner_user_id, 'Kite', '', 'kite', 5, 'USD', id, 10, 1 FROM accounts WHERE id = $2)"
            " INSERT INTO inventory_movements (product_id, sequence, kind, on_hand_change, reserved_change,"
            " on_hand_after, reserved_after, reason) VALUES ($1, 1, 'ADJUSTED', 10, 0, 10, 0, 'initial quantity')",
            *(product_id, settlement_account_id),
        )
        return product_id

    async def order(self, buyer: Someone, settlement_account_id: str) -> str:
        """Of a new product that is paid to the account."""
        items = [{"product_id": await self.product(settlement_account_id), "quantity": 1}]
        fields = {"payment_account_id": await self.account(buyer), "items": items, "request_id": str(uuid4())}
        return str((await self.done("CreateOrder", fields, buyer.token))["order"]["id"])

    async def shipped(self, order_id: str) -> str:
        """The same order, when it is paid."""
        await self.done("ShipOrder", {"order_id": order_id}, self.bank.people["admin"].token)
        return order_id

    async def done(self, rpc: str, fields: Mapping[str, Any], token: str) -> dict[str, Any]:
        """The reply to a call that must succeed."""
        answer = await self.bank.grpc.call(rpc, fields, token)
        assert answer.code == "OK", (rpc, answer)
        return answer.reply

    async def dress(self, caller: Someone, kind: str) -> str:
        """Make the caller what the column says, last of all; what they send as an access token."""
        if kind in ("unverified", "disabled"):
            change = "email_verified = false" if kind == "unverified" else "disabled = true"
            await self.bank.owner.execute(f"UPDATE users SET {change} WHERE id = $1", caller.user_id)
        if kind == "expired":
            return self.expired_token(caller)
        if kind == "refresh":
            # That of their other session: a session has one that is unused, and the call may be about it.
            other = Someone(caller.user_id, caller.username, uuid7(), "", caller.email)
            await self.session(caller.user_id, other.session_id)
            return await self.refresh_token(other)
        if kind == "mailed":
            return await self.mail_token(caller, VERIFY_EMAIL)
        return "" if kind == "nobody" else caller.token


def signing_up() -> dict[str, str]:
    """A good request of CreateUser."""
    username = f"u{uuid4().hex[:16]}"
    return {
        "username": username,
        "password": NEW_PASSWORD,
        "full_name": "Somebody",
        "email": f"{username}@example.com",
    }
