"""Opaque page tokens: where a list goes on, signed and bound to caller, list and filter."""

import base64
import binascii
import hmac
import json
from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar
from uuid import UUID

from server.errors import InvalidPageToken

LAST_ID = UUID(int=(1 << 128) - 1)
"""Not below any id: where a list by falling ids begins."""

Row = TypeVar("Row")

_MAC_BYTES = 16
_TOKEN_LENGTH_MAX = 1024


class PageTokens:
    """Makes and reads the page tokens of this service.

    Args:
        key: Secret of at least 32 bytes, the same in every process.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, scope: tuple[str, ...], position: list[str]) -> str:
        """Token for going on after `position`.

        Args:
            scope: Caller, list and filter that the token is good for.
            position: Keyset values of the last row shown.
        """
        payload = json.dumps(position, separators=(",", ":")).encode()
        return self._encode(self._mac(scope, payload) + payload)

    def read(self, scope: tuple[str, ...], token: str) -> list[str] | None:
        """The position in `token`; None for the empty token of a first page.

        Raises:
            InvalidPageToken: Made by nobody here, or for another caller, list or filter.
        """
        if not token:
            return None
        if len(token) > _TOKEN_LENGTH_MAX:
            raise InvalidPageToken
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise InvalidPageToken from None
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        # The canonical form is compared too: spare bits of the last character carry nothing.
        if not hmac.compare_digest(mac, self._mac(scope, payload)) or self._encode(raw) != token:
            raise InvalidPageToken
        position: list[str] = json.loads(payload)
        return position

    def before_id(self, scope: tuple[str, ...], token: str) -> UUID:
        """The id after which a list ordered by id alone goes on; on a first page, beyond every id.

        Raises:
            InvalidPageToken: See `read`.
        """
        position = self.read(scope, token)
        return UUID(position[0]) if position else LAST_ID

    def cut(
        self, scope: tuple[str, ...], rows: list[Row], page_size: int, position: Callable[[Row], list[str]]
    ) -> tuple[list[Row], str]:
        """The page in `rows`, of which one more than a page was asked for, and the token of the next.

        Args:
            scope: What the token is good for.
            rows: At most page_size + 1.
            page_size: How many to keep.
            position: Keyset values of a row.

        Returns:
            The rows of the page, and an empty token if there are no more.
        """
        if len(rows) <= page_size:
            return rows, ""
        return rows[:page_size], self.make(scope, position(rows[page_size - 1]))

    @staticmethod
    def _encode(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def _mac(self, scope: tuple[str, ...], payload: bytes) -> bytes:
        message = json.dumps(scope, separators=(",", ":")).encode() + b"\0" + payload
        return hmac.new(self._key, message, sha256).digest()[:_MAC_BYTES]
