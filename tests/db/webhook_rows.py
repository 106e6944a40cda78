"""Rows of webhooks that the database takes, and rows that it refuses, for test_constraints."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

ALICE, TRANSFER, ABSENT = UUID(int=1), UUID(int=13), UUID(int=99)
WEBHOOK, SECRET, DELIVERY = UUID(int=31), UUID(int=32), UUID(int=33)
NOW = datetime(2026, 11, 21, tzinfo=UTC)

GOOD: dict[str, dict[str, Any]] = {
    "webhooks": {
        "id": WEBHOOK,
        "user_id": ALICE,
        "url": "https://shop.example/",
        "types": ["transfer.posted"],
        "description": "",
        "everybodys": False,
        "position": 0,
    },
    "webhook_secrets": {"id": SECRET, "webhook_id": WEBHOOK, "ciphertext": b"1"},
    "webhook_deliveries": {
        "id": DELIVERY,
        "webhook_id": WEBHOOK,
        "position": 1,
        "event_type": "transfer.posted",
        "subject_id": TRANSFER,
        "state": "PENDING",
    },
}
ENDED = {"next_attempt_time": None, "end_time": NOW}
# There from the beginning, and the only one.
THE_FEED = {"only_row": True, "position": 0}
BREACHES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("webhooks", {}, "webhooks_pkey"),
    ("webhooks", {"id": ABSENT, "user_id": ABSENT}, "webhooks_user_id_fkey"),
    ("webhooks", {"id": ABSENT, "url": ""}, "webhooks_url_not_empty"),
    ("webhooks", {"id": ABSENT, "disable_reason": "BORED", "due_time": None}, "webhooks_disable_reason_known"),
    ("webhooks", {"id": ABSENT, "position": -1}, "webhooks_position_not_negative"),
    ("webhooks", {"id": ABSENT, "failure_count": 1}, "webhooks_failure_count_fits"),
    ("webhooks", {"id": ABSENT, "failing_since_time": NOW}, "webhooks_failure_count_fits"),
    ("webhooks", {"id": ABSENT, "disable_reason": "OWNER"}, "webhooks_due_while_live"),
    ("webhooks", {"id": ABSENT, "delete_time": NOW}, "webhooks_due_while_live"),
    ("webhook_secrets", {}, "webhook_secrets_pkey"),
    ("webhook_secrets", {"id": ABSENT, "webhook_id": ABSENT}, "webhook_secrets_webhook_id_fkey"),
    ("webhook_deliveries", {"position": 2}, "webhook_deliveries_pkey"),
    ("webhook_deliveries", {"id": ABSENT}, "webhook_deliveries_webhook_position_key"),
    ("webhook_deliveries", {"id": ABSENT, "webhook_id": ABSENT}, "webhook_deliveries_webhook_id_fkey"),
    ("webhook_deliveries", {"id": ABSENT, "position": 0}, "webhook_deliveries_position_positive"),
    ("webhook_deliveries", {"id": ABSENT, "state": "LOST", **ENDED}, "webhook_deliveries_state_known"),
    ("webhook_deliveries", {"id": ABSENT, "failure": "BAD LUCK"}, "webhook_deliveries_failure_known"),
    (
        "webhook_deliveries",
        {"id": ABSENT, "state": "DELIVERED", "failure": "STATUS", **ENDED},
        "webhook_deliveries_delivered_without_failure",
    ),
    ("webhook_deliveries", {"id": ABSENT, "state": "FAILED", **ENDED}, "webhook_deliveries_failed_with_failure"),
    ("webhook_deliveries", {"id": ABSENT, "next_attempt_time": None}, "webhook_deliveries_pending_is_due"),
    ("webhook_deliveries", {"id": ABSENT, "end_time": NOW}, "webhook_deliveries_ended_when_not_pending"),
    ("webhook_feed", THE_FEED, "webhook_feed_pkey"),
    ("webhook_feed", {**THE_FEED, "only_row": False}, "webhook_feed_one_row"),
)
