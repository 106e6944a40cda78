"""Secrets of webhooks, and signatures by the letter of Standard Webhooks."""

import base64
import os
from datetime import UTC, datetime
from uuid import UUID, uuid4

from server.webhooks.secrets import WebhookSecrets, signed_headers


class TestWebhookSecrets:
    def test_stored_secret_opens_for_its_webhook_under_its_key_only(self) -> None:
        key, webhook_id = os.urandom(32), uuid4()
        shown, stored = WebhookSecrets(key).make(webhook_id)
        secret = base64.b64decode(shown.removeprefix("whsec_"))
        broken = stored[:-1] + bytes([stored[-1] ^ 1])
        assert WebhookSecrets(key).open([stored, broken], webhook_id) == [secret]
        assert secret not in stored
        for box, owner in ((WebhookSecrets(key), uuid4()), (WebhookSecrets(os.urandom(32)), webhook_id)):
            assert box.open([stored], owner) == []

    def test_two_secrets_share_nothing(self) -> None:
        box, webhook_id = WebhookSecrets(os.urandom(32)), uuid4()
        assert box.make(webhook_id)[0] != box.make(webhook_id)[0]


class TestSignedHeaders:
    def test_each_live_secret_signs_id_time_and_body(self) -> None:
        time = datetime(2026, 1, 31, 9, 30, 0, 999_999, tzinfo=UTC)
        delivery_id = UUID(int=7)
        headers = signed_headers(delivery_id, time, b'{"a": 1}', [b"first", b"second"])
        # printf '%s.1769851800.{"a": 1}' "$ID" | openssl dgst -sha256 -hmac first -binary | base64
        assert headers == {
            "webhook-id": "00000000-0000-0000-0000-000000000007",
            "webhook-timestamp": "1769851800",
            "webhook-signature": "v1,4I6jN2sp+mfCh4kJHZtP2Y5nE6VkVzAkIjrE3LVFMGs= "
            "v1,yPfh/pk0DVZnCdssq9zvMWIE+P7mlyQJZEbd1LuK6Xk=",
        }
