"""The database refuses by itself what the code must never write: one row for each constraint that breaks it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.conftest import CloneDatabase, PostgresServer
from tests.db import webhook_rows
from tests.db.migrations import superuser_url

ALICE, SESSION, MAIL, OUTBOX = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)
SOURCE, DESTINATION, TRANSFER, ABSENT = UUID(int=11), UUID(int=12), UUID(int=13), UUID(int=99)
HOLD, CAPTURED, SCHEDULE, AUDIT_EVENT = UUID(int=15), UUID(int=16), UUID(int=17), UUID(int=18)
PRODUCT, ORDER, HOLDS_MORE = UUID(int=21), UUID(int=22), UUID(int=23)
LIMIT = 4 * 10**18
NOW = datetime(2026, 11, 21, tzinfo=UTC)

# A good row of each table, in an order in which they can be inserted.
GOOD: dict[str, dict[str, Any]] = {
    "users": {
        "id": ALICE,
        "username": "alice",
        "password_hash": "x",
        "full_name": "Alice Example",
        "email": "alice@example.org",
        "email_verified": True,
        "roles": ["DEPOSITOR"],
    },
    "sessions": {
        "id": SESSION,
        "user_id": ALICE,
        "user_agent": "",
        "client_address": "",
        "idle_expire_time": NOW,
        "expire_time": NOW,
    },
    "refresh_tokens": {"token_hash": b"1", "session_id": SESSION},
    "mail_tokens": {
        "id": MAIL,
        "user_id": ALICE,
        "purpose": "VERIFY_EMAIL",
        "email": "alice@example.org",
        "token_hash": b"1",
        "expire_time": NOW,
    },
    "currencies": {"currency_code": "QQQ", "minor_unit_digits": 4, "name": "Sample"},
    "accounts": {
        "id": SOURCE,
        "kind": "CUSTOMER",
        "owner_user_id": ALICE,
        "currency_code": "USD",
        "state": "OPEN",
        "posted_minor": LIMIT,
        "held_minor": 0,
        "overdraft_limit_minor": 10**17,
    },
    "transfers": {
        "id": TRANSFER,
        "kind": "TRANSFER",
        "source_account_id": SOURCE,
        "destination_account_id": DESTINATION,
        "amount_minor": 10**17,
        "currency_code": "USD",
        "initiator_user_id": ALICE,
        "request_id": UUID(int=14),
        "description": "",
        "reference": "rent 11",
        "source_sequence": 1,
        "destination_sequence": 1,
        "create_time": NOW,
    },
    "entries": {
        "account_id": SOURCE,
        "sequence": 1,
        "transfer_id": TRANSFER,
        "amount_minor": -1,
        "balance_after_minor": 0,
        "create_time": NOW,
    },
    "holds": {
        "id": HOLD,
        "source_account_id": SOURCE,
        "destination_account_id": DESTINATION,
        "amount_minor": 10**17,
        "currency_code": "USD",
        "creator_user_id": ALICE,
        "state": "PENDING",
        "captured_amount_minor": 0,
        "expire_time": NOW,
        "create_time": NOW,
        "update_time": NOW,
    },
    "reversed_totals": {"transfer_id": TRANSFER, "amount_minor": 1},
    "products": {
        "id": PRODUCT,
        "merchant_user_id": ALICE,
        "name": "Red kite",
        "description": "",
        "search_words": "red kite",
        "price_minor": 10**17,
        "currency_code": "USD",
        "settlement_account_id": SOURCE,
        "on_hand": 10**12,
        "reserved": 10**12,
        "movement_count": 0,
        "state": "ACTIVE",
    },
    "inventory_movements": {
        "product_id": PRODUCT,
        "sequence": 1,
        "kind": "ADJUSTED",
        "on_hand_change": 1,
        "reserved_change": 0,
        "on_hand_after": 1,
        "reserved_after": 0,
        "reason": "counted",
    },
    "orders": {
        "id": ORDER,
        "buyer_user_id": ALICE,
        "merchant_user_id": ALICE,
        "payment_account_id": SOURCE,
        "settlement_account_id": DESTINATION,
        "total_minor": 10**17,
        "currency_code": "USD",
        "state": "PLACED",
        "payment_state": "HELD",
        "fulfillment_state": "RESERVED",
        "hold_id": HOLD,
        "expire_time": NOW,
        "create_time": NOW,
        "update_time": NOW,
    },
    "order_items": {
        "order_id": ORDER,
        "product_id": PRODUCT,
        "line": 1,
        "product_name": "Red kite",
        "quantity": 2,
        "unit_price_minor": 1,
        "restocked_quantity": 2,
    },
    "scheduled_transfers": {
        "id": SCHEDULE,
        "creator_user_id": ALICE,
        "source_account_id": SOURCE,
        "destination_account_id": DESTINATION,
        "amount_minor": 10**17,
        "currency_code": "USD",
        "description": "",
        "execute_time": NOW,
        "state": "SCHEDULED",
        "create_time": NOW,
        "update_time": NOW,
    },
    "ledger_blocks": {
        "number": 1,
        "first_position": 1,
        "last_position": 1,
        "entry_count": 2,
        "transfer_ids": [TRANSFER],
        "digests": bytes(32),
        "previous_hash": bytes(32),
        "hash": bytes(32),
    },
    "requests": {
        "user_id": ALICE,
        "request_id": UUID(int=14),
        "rpc": "bank.v1.TransferService/CreateTransfer",
        "fingerprint": b"1",
        "result_id": TRANSFER,
    },
    "events": {"position": 1, "type": "transfer.posted", "subject_id": TRANSFER},
    "outbox": {"id": OUTBOX, "job": "send_verification_email", "payload": "{}"},
    "sign_in_throttles": {"name_digest": b"alice", "failure_count": 0, "last_failure_time": NOW, "retry_time": NOW},
    "rate_limits": {"action": "SIGN_IN", "subject": "192.0.2.1", "full_time": NOW},
    "audit_events": {
        "id": AUDIT_EVENT,
        "type": "SIGNED_IN",
        "client_address": "192.0.2.1",
        "user_agent": "",
        "trace_id": "",
        "details": "{}",
    },
    **webhook_rows.GOOD,
}
# An order that its own keys would let in beside the good one.
NEXT_ORDER = {"id": ABSENT, "hold_id": HOLDS_MORE}
PAID = {"payment_state": "PAID", "fulfillment_state": "SHIPPED", "transfer_id": TRANSFER}
CAPTURE = {"state": "CAPTURED", "captured_amount_minor": 1, "capture_transfer_id": TRANSFER}
# Table, what differs from the good row, and the constraint that must refuse it.
BREACHES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("users", {"username": "bob"}, "users_pkey"),
    ("users", {"id": ABSENT, "email_verified": False}, "users_username_key"),
    *(
        ("users", {"id": ABSENT, "username": name, "email": "b@example.org"}, "users_username_canonical")
        for name in ("", "bo", "Bob", "1bob", "bob smith", "b" * 33, "bob\n", "bøb")
    ),
    ("users", {"id": ABSENT, "username": "bob", "email": "ALICE@example.org"}, "users_verified_email_key"),
    *(
        ("users", {"id": ABSENT, "username": "bob", "email": "b@example.org", "roles": roles}, "users_roles_known")
        for roles in ([], ["ADMIN"], ["DEPOSITOR", "OWNER"], ["depositor"])
    ),
    ("sessions", {}, "sessions_pkey"),
    ("sessions", {"id": ABSENT, "user_id": ABSENT}, "sessions_user_id_fkey"),
    ("refresh_tokens", {"use_time": NOW}, "refresh_tokens_pkey"),
    ("refresh_tokens", {"token_hash": b"2", "session_id": ABSENT}, "refresh_tokens_session_id_fkey"),
    ("refresh_tokens", {"token_hash": b"2"}, "refresh_tokens_unused_key"),
    ("mail_tokens", {"token_hash": b"2"}, "mail_tokens_pkey"),
    ("mail_tokens", {"id": ABSENT}, "mail_tokens_token_hash_key"),
    ("mail_tokens", {"id": ABSENT, "token_hash": b"2", "user_id": ABSENT}, "mail_tokens_user_id_fkey"),
    ("mail_tokens", {"id": ABSENT, "token_hash": b"2", "purpose": "LOTTERY"}, "mail_tokens_purpose_known"),
    ("currencies", {}, "currencies_pkey"),
    *(("currencies", {"currency_code": code}, "currencies_currency_code_iso") for code in ("qqr", "QQ", "QQQQ", "QQ1")),
    *(
        ("currencies", {"currency_code": "QQR", "minor_unit_digits": digits}, "currencies_minor_unit_digits_range")
        for digits in (-1, 5)
    ),
    ("accounts", {}, "accounts_pkey"),
    ("accounts", {"id": ABSENT, "owner_user_id": ABSENT}, "accounts_owner_user_id_fkey"),
    ("accounts", {"id": ABSENT, "currency_code": "XAU"}, "accounts_currency_code_fkey"),
    ("accounts", {"id": ABSENT, "kind": "SYSTEM_FEES", "owner_user_id": None}, "accounts_kind_known"),
    ("accounts", {"id": ABSENT, "owner_user_id": None}, "accounts_customer_owned"),
    ("accounts", {"id": ABSENT, "kind": "SYSTEM_CASH"}, "accounts_customer_owned"),
    ("accounts", {"id": ABSENT, "state": "ASLEEP"}, "accounts_state_known"),
    *(
        (
            "accounts",
            {"id": ABSENT, "kind": "SYSTEM_CASH", "owner_user_id": None, "state": state, "posted_minor": 0},
            "accounts_system_open",
        )
        for state in ("FROZEN", "CLOSED")
    ),
    ("accounts", {"id": ABSENT, "posted_minor": LIMIT + 1}, "accounts_posted_minor_range"),
    (
        "accounts",
        {"id": ABSENT, "kind": "SYSTEM_CASH", "owner_user_id": None, "posted_minor": -LIMIT - 1},
        "accounts_posted_minor_range",
    ),
    ("accounts", {"id": ABSENT, "held_minor": -1}, "accounts_held_minor_range"),
    ("accounts", {"id": ABSENT, "held_minor": LIMIT + 1}, "accounts_held_minor_range"),
    ("accounts", {"id": ABSENT, "overdraft_limit_minor": -1}, "accounts_overdraft_limit_minor_range"),
    ("accounts", {"id": ABSENT, "overdraft_limit_minor": 10**17 + 1}, "accounts_overdraft_limit_minor_range"),
    (
        "accounts",
        {"id": ABSENT, "posted_minor": -1, "overdraft_limit_minor": 0},
        "accounts_available_minor_not_negative",
    ),
    (
        "accounts",
        {"id": ABSENT, "posted_minor": 9, "held_minor": 12, "overdraft_limit_minor": 2},
        "accounts_available_minor_not_negative",
    ),
    ("accounts", {"id": ABSENT, "state": "CLOSED", "posted_minor": 1}, "accounts_closed_empty"),
    (
        "accounts",
        {"id": ABSENT, "state": "CLOSED", "posted_minor": 0, "held_minor": 1, "overdraft_limit_minor": 1},
        "accounts_closed_empty",
    ),
    ("transfers", {"reference": None}, "transfers_pkey"),
    ("transfers", {"id": ABSENT}, "transfers_initiator_reference_key"),
    ("transfers", {"id": ABSENT, "reference": None, "kind": "GIFT"}, "transfers_kind_known"),
    (
        "transfers",
        {"id": ABSENT, "reference": None, "destination_account_id": SOURCE},
        "transfers_accounts_differ",
    ),
    *(
        ("transfers", {"id": ABSENT, "reference": None, "amount_minor": amount}, "transfers_amount_minor_range")
        for amount in (-1, 0, 10**17 + 1)
    ),
    ("transfers", {"id": ABSENT, "reference": ""}, "transfers_reference_not_empty"),
    ("entries", {}, "entries_pkey"),
    ("entries", {"sequence": 0}, "entries_sequence_positive"),
    ("entries", {"sequence": 2, "amount_minor": 0}, "entries_amount_minor_not_zero"),
    ("transfers", {"id": ABSENT, "reference": None, "hold_id": HOLD}, "transfers_hold_of_capture"),
    ("transfers", {"id": ABSENT, "reference": None, "kind": "CAPTURE"}, "transfers_hold_of_capture"),
    ("transfers", {"id": ABSENT, "reference": None, "kind": "CAPTURE", "hold_id": CAPTURED}, "transfers_hold_id_key"),
    ("transfers", {"id": ABSENT, "reference": None, "kind": "REVERSAL"}, "transfers_original_of_reversal"),
    (
        "transfers",
        {"id": ABSENT, "reference": None, "reverses_transfer_id": TRANSFER},
        "transfers_original_of_reversal",
    ),
    ("holds", {}, "holds_pkey"),
    ("holds", {"id": ABSENT, "source_account_id": ABSENT}, "holds_source_account_id_fkey"),
    ("holds", {"id": ABSENT, "destination_account_id": ABSENT}, "holds_destination_account_id_fkey"),
    ("holds", {"id": ABSENT, **CAPTURE, "capture_transfer_id": ABSENT}, "holds_capture_transfer_id_fkey"),
    ("holds", {"id": ABSENT, "destination_account_id": SOURCE}, "holds_accounts_differ"),
    *(("holds", {"id": ABSENT, "amount_minor": amount}, "holds_amount_minor_range") for amount in (0, 10**17 + 1)),
    ("holds", {"id": ABSENT, "state": "LOST"}, "holds_state_known"),
    ("holds", {"id": ABSENT, **CAPTURE, "captured_amount_minor": 10**17 + 1}, "holds_captured_amount_minor_range"),
    ("holds", {"id": ABSENT, "captured_amount_minor": 1}, "holds_captured_with_transfer"),
    ("holds", {"id": ABSENT, "state": "CAPTURED"}, "holds_captured_with_transfer"),
    ("holds", {"id": ABSENT, **CAPTURE, "state": "VOIDED"}, "holds_captured_with_transfer"),
    ("reversed_totals", {}, "reversed_totals_pkey"),
    ("reversed_totals", {"transfer_id": ABSENT}, "reversed_totals_transfer_id_fkey"),
    ("reversed_totals", {"amount_minor": 0}, "reversed_totals_amount_minor_positive"),
    ("products", {}, "products_pkey"),
    ("products", {"id": ABSENT, "merchant_user_id": ABSENT}, "products_merchant_user_id_fkey"),
    ("products", {"id": ABSENT, "currency_code": "XAU"}, "products_currency_code_fkey"),
    ("products", {"id": ABSENT, "settlement_account_id": ABSENT}, "products_settlement_account_id_fkey"),
    ("products", {"id": ABSENT, "name": ""}, "products_name_not_empty"),
    *(("products", {"id": ABSENT, "price_minor": price}, "products_price_minor_range") for price in (0, 10**17 + 1)),
    ("products", {"id": ABSENT, "on_hand": 10**12 + 1}, "products_on_hand_range"),
    ("products", {"id": ABSENT, "reserved": -1}, "products_reserved_range"),
    ("products", {"id": ABSENT, "on_hand": 1, "reserved": 2}, "products_reserved_range"),
    ("products", {"id": ABSENT, "state": "LOST"}, "products_state_known"),
    ("inventory_movements", {}, "inventory_movements_pkey"),
    ("inventory_movements", {"product_id": ABSENT}, "inventory_movements_product_id_fkey"),
    ("inventory_movements", {"sequence": 0}, "inventory_movements_sequence_positive"),
    ("inventory_movements", {"sequence": 2, "kind": "LOST", "order_id": ORDER}, "inventory_movements_kind_known"),
    ("inventory_movements", {"sequence": 2, "order_id": ORDER}, "inventory_movements_order_named"),
    ("inventory_movements", {"sequence": 2, "kind": "SHIPPED"}, "inventory_movements_order_named"),
    ("inventory_movements", {"sequence": 2, "on_hand_change": 0}, "inventory_movements_something_changed"),
    ("holds", {"id": ABSENT, "order_id": ORDER}, "holds_order_id_key"),
    (
        "transfers",
        {"id": ABSENT, "reference": None, "kind": "CAPTURE", "hold_id": ABSENT, "order_id": ORDER},
        "transfers_order_id_key",
    ),
    ("orders", {**NEXT_ORDER, "id": ORDER}, "orders_pkey"),
    ("orders", {"id": ABSENT}, "orders_hold_id_key"),
    ("orders", {"id": ABSENT, "hold_id": ABSENT}, "orders_hold_id_fkey"),
    ("orders", {**NEXT_ORDER, "payment_account_id": ABSENT}, "orders_payment_account_id_fkey"),
    ("orders", {**NEXT_ORDER, "settlement_account_id": ABSENT}, "orders_settlement_account_id_fkey"),
    ("orders", {**NEXT_ORDER, **PAID, "transfer_id": ABSENT}, "orders_transfer_id_fkey"),
    ("orders", {**NEXT_ORDER, **PAID, "transfer_id": None}, "orders_paid_with_transfer"),
    ("orders", {**NEXT_ORDER, "transfer_id": TRANSFER}, "orders_paid_with_transfer"),
    *(("orders", {**NEXT_ORDER, "total_minor": total}, "orders_total_minor_range") for total in (0, 10**17 + 1)),
    *(
        ("orders", {**NEXT_ORDER, **change}, "orders_states_legal")
        for change in (
            {"state": "LOST"},
            {"state": "CANCELED"},
            {"payment_state": "RELEASED"},
            {"fulfillment_state": "SHIPPED"},
            {**PAID, "fulfillment_state": "RESERVED"},
            {**PAID, "state": "COMPLETED"},
            {**PAID, "state": "CANCELED"},
        )
    ),
    ("order_items", {}, "order_items_pkey"),
    ("order_items", {"order_id": ABSENT}, "order_items_order_id_fkey"),
    ("order_items", {"product_id": ABSENT}, "order_items_product_id_fkey"),
    ("order_items", {"quantity": 0, "restocked_quantity": 0}, "order_items_quantity_positive"),
    ("order_items", {"unit_price_minor": 0}, "order_items_unit_price_minor_positive"),
    *(("order_items", {"restocked_quantity": count}, "order_items_restocked_quantity_range") for count in (-1, 3)),
    ("scheduled_transfers", {}, "scheduled_transfers_pkey"),
    *(
        ("scheduled_transfers", {"id": ABSENT, column: ABSENT}, f"scheduled_transfers_{column}_fkey")
        for column in ("source_account_id", "destination_account_id")
    ),
    (
        "scheduled_transfers",
        {"id": ABSENT, "state": "POSTED", "transfer_id": ABSENT},
        "scheduled_transfers_transfer_id_fkey",
    ),
    (
        "scheduled_transfers",
        {"id": ABSENT, "destination_account_id": SOURCE},
        "scheduled_transfers_accounts_differ",
    ),
    *(
        ("scheduled_transfers", {"id": ABSENT, "amount_minor": amount}, "scheduled_transfers_amount_minor_range")
        for amount in (0, 10**17 + 1)
    ),
    ("scheduled_transfers", {"id": ABSENT, "state": "LOST"}, "scheduled_transfers_state_known"),
    ("scheduled_transfers", {"id": ABSENT, "state": "POSTED"}, "scheduled_transfers_posted_with_transfer"),
    ("scheduled_transfers", {"id": ABSENT, "state": "FAILED"}, "scheduled_transfers_failed_with_reason"),
    ("ledger_blocks", {}, "ledger_blocks_pkey"),
    ("ledger_blocks", {"number": 0}, "ledger_blocks_number_positive"),
    ("ledger_blocks", {"number": 2, "last_position": 0}, "ledger_blocks_positions_ordered"),
    ("ledger_blocks", {"number": 2, "hash": bytes(31)}, "ledger_blocks_hash_length"),
    ("ledger_blocks", {"number": 2, "digests": bytes(31)}, "ledger_blocks_digests_length"),
    ("requests", {"result_id": ABSENT}, "requests_pkey"),
    ("events", {}, "events_position_key"),
    ("events", {"position": 0}, "events_position_positive"),
    ("outbox", {}, "outbox_pkey"),
    ("outbox", {"id": ABSENT, "done_time": NOW, "dead_time": NOW}, "outbox_done_or_dead"),
    ("sign_in_throttles", {}, "sign_in_throttles_pkey"),
    ("sign_in_throttles", {"name_digest": b"bob", "failure_count": -1}, "sign_in_throttles_failure_count_not_negative"),
    ("rate_limits", {}, "rate_limits_pkey"),
    ("audit_events", {}, "audit_events_pkey"),
    *webhook_rows.BREACHES,
)
# No row can be made to break these: identity never repeats by itself.
UNBREAKABLE = {"events_pkey", "schema_migrations_pkey"}


async def insert(connection: Any, table: str, row: dict[str, Any]) -> None:
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


@pytest.fixture(scope="module")
async def connection(clone_database: CloneDatabase, postgres: PostgresServer) -> AsyncIterator[Any]:
    """A database with one good row in each table, as its superuser, whom no privilege stops."""
    async with clone_database() as database:
        opened = await asyncpg.connect(superuser_url(postgres, database.owner_url))
        for table, row in GOOD.items():
            await insert(opened, table, row)
            if table == "accounts":
                await insert(opened, table, {**row, "id": DESTINATION})
            if table == "transfers":
                capture = {"id": CAPTURED, "reference": None, "kind": "CAPTURE", "hold_id": CAPTURED}
                await insert(opened, table, {**row, **capture})
                paid = {"id": uuid4(), "reference": None, "kind": "CAPTURE", "hold_id": uuid4(), "order_id": ORDER}
                await insert(opened, table, {**row, **paid})
            if table == "holds":
                await insert(opened, table, {**row, "id": HOLDS_MORE, "order_id": ORDER})
        yield opened
        await opened.close()


class TestConstraints:
    @pytest.mark.parametrize(("table", "change", "constraint"), BREACHES, ids=lambda value: str(value)[:60])
    async def test_row_that_breaks_it_is_refused_by_name(
        self, connection: Any, table: str, change: dict[str, Any], constraint: str
    ) -> None:
        before = await connection.fetchval(f"SELECT count(*) FROM {table}")
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            await insert(connection, table, {**GOOD.get(table, {}), **change})
        assert refused.value.constraint_name == constraint
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == before

    async def test_every_constraint_has_a_row_here(self, connection: Any) -> None:
        rows = await connection.fetch(
            "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
            " UNION SELECT indexrelid::regclass::text FROM pg_index"
            " INNER JOIN pg_class ON pg_class.oid = indexrelid"
            " WHERE indisunique AND relnamespace = 'public'::regnamespace"
        )
        assert {row[0] for row in rows} == {constraint for _, _, constraint in BREACHES} | UNBREAKABLE

    @pytest.mark.parametrize("table", GOOD)
    async def test_what_must_be_said_cannot_be_null(self, connection: Any, table: str) -> None:
        optional = {"reference", "owner_user_id", "position"}
        for column in GOOD[table].keys() - optional:
            with pytest.raises(asyncpg.NotNullViolationError) as refused:
                await insert(connection, table, {**GOOD[table], column: None})
            assert refused.value.column_name == column

    async def test_audit_log_depends_on_no_other_table(self, connection: Any) -> None:
        row = {"id": uuid4(), **dict.fromkeys(("user_id", "actor_user_id", "session_id", "account_id"), ABSENT)}
        transaction = connection.transaction()
        await transaction.start()
        await insert(connection, "audit_events", {**GOOD["audit_events"], **row})
        await transaction.rollback()

    async def test_unverified_addresses_may_repeat(self, connection: Any) -> None:
        transaction = connection.transaction()
        await transaction.start()
        for number in range(2):
            row = {"id": uuid4(), "username": f"bob{number}", "email_verified": False}
            await insert(connection, "users", {**GOOD["users"], **row})
        await transaction.rollback()

    async def test_row_at_each_bound_is_taken(self, connection: Any) -> None:
        transaction = connection.transaction()
        await transaction.start()
        for change in (
            {"posted_minor": -(10**17)},
            {"posted_minor": 0, "held_minor": 10**17},
            {"posted_minor": 0, "state": "CLOSED"},
            {"kind": "SYSTEM_CASH", "owner_user_id": None, "posted_minor": -LIMIT},
        ):
            await insert(connection, "accounts", {**GOOD["accounts"], "id": uuid4(), **change})
        await insert(
            connection, "transfers", {**GOOD["transfers"], "id": uuid4(), "reference": None, "amount_minor": 1}
        )
        await transaction.rollback()


class TestEntrySequenceBefore:
    async def test_it_is_the_last_entry_before_the_instant(self, connection: Any) -> None:
        transaction = connection.transaction()
        await transaction.start()
        # Times in seconds after NOW, several entries at one instant.
        seconds = [0, 0, 1, 3, 3, 3, 4, 9, 9]
        for sequence, second in enumerate(seconds, 1):
            row = {"account_id": DESTINATION, "sequence": sequence, "create_time": NOW + timedelta(seconds=second)}
            await insert(connection, "entries", {**GOOD["entries"], **row})
        for second in range(-1, 11):
            for microseconds in (-1, 0, 1):
                offset = timedelta(seconds=second, microseconds=microseconds)
                found = await connection.fetchval("SELECT entry_sequence_before($1, $2)", DESTINATION, NOW + offset)
                assert found == sum(timedelta(seconds=each) < offset for each in seconds)
        await transaction.rollback()

    async def test_account_without_entries_has_none(self, connection: Any) -> None:
        assert await connection.fetchval("SELECT entry_sequence_before($1, now())", DESTINATION) == 0
