"""An account with a long past, made at once."""

from typing import Any
from uuid import UUID


async def fill_history(connection: Any, account_id: UUID, count: int, description: str = "history") -> None:
    """Book `count` deposits of 1 in USD, a microsecond apart, as the owner of the tables; the ledger adds up after."""
    async with connection.transaction():
        cash_id = await connection.fetchval(
            "SELECT id FROM accounts WHERE kind = 'SYSTEM_CASH' AND currency_code = 'USD' ORDER BY id LIMIT 1"
        )
        rows = await connection.fetch(
            "SELECT id, posted_minor, entry_count FROM accounts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
            [cash_id, account_id],
        )
        sides = {row["id"]: (row["posted_minor"], row["entry_count"]) for row in rows}
        (cash_minor, cash_count), (own_minor, own_count) = sides[cash_id], sides[account_id]
        now = await connection.fetchval("SELECT clock_timestamp()")
        await connection.execute(
            "INSERT INTO transfers (id, kind, source_account_id, destination_account_id, amount_minor, currency_code,"
            " initiator_user_id, request_id, description, source_sequence, destination_sequence, create_time)"
            " SELECT md5($2::uuid::text || ($4::bigint + n))::uuid, 'DEPOSIT', $1::uuid, $2::uuid, 1, 'USD',"
            " owner_user_id, gen_random_uuid(), $6, $3::bigint + n, $4::bigint + n,"
            " $5::timestamptz + n * interval '1 microsecond'"
            " FROM accounts CROSS JOIN generate_series(1, $7::bigint) AS n WHERE accounts.id = $2",
            cash_id,
            account_id,
            cash_count,
            own_count,
            now,
            description,
            count,
        )
        await connection.execute(
            "INSERT INTO events (type, subject_id, counterparty_user_id, create_time)"
            " SELECT 'transfer.posted', id, initiator_user_id, create_time FROM transfers"
            " WHERE destination_account_id = $1 AND create_time > $2",
            account_id,
            now,
        )
        for side_id, sign, balance_minor, entry_count, column in (
            (cash_id, -1, cash_minor, cash_count, "source_sequence"),
            (account_id, 1, own_minor, own_count, "destination_sequence"),
        ):
            await connection.execute(
                "INSERT INTO entries"
                " (account_id, sequence, transfer_id, amount_minor, balance_after_minor, create_time)"
                f" SELECT $1, {column}, id, $2::bigint, $3::bigint + $2::bigint * ({column} - $4::bigint), create_time"
                " FROM transfers WHERE source_account_id = $5 AND destination_account_id = $6 AND create_time > $7",
                side_id,
                sign,
                balance_minor,
                entry_count,
                cash_id,
                account_id,
                now,
            )
            await connection.execute(
                "UPDATE accounts SET posted_minor = posted_minor + $2, entry_count = entry_count + $3::bigint,"
                " last_entry_time = $4::timestamptz + $3::bigint * interval '1 microsecond' WHERE id = $1",
                side_id,
                sign * count,
                count,
                now,
            )
