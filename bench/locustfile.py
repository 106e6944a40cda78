"""The load for people who prefer a user interface: Locust, over JSON, as the demo users of `make run`.

    pip install locust
    locust -f bench/locustfile.py --host http://localhost:8080

Start `make run` first. Every payer sends a cent from alice to bob, the next one back, and so on, so
that the money lasts; one call in ten lists entries.
"""

from time import sleep
from uuid import uuid4

from locust import HttpUser, between, task

PASSWORD = "local demo passphrase"  # noqa: S105 - the one that `make run` prints
_TRIES_MAX = 60
_TOO_MANY = 429


class Payer(HttpUser):
    """Is alice and bob at once, who pay each other."""

    wait_time = between(0, 0.1)

    def on_start(self) -> None:
        """Sign both in."""
        self.payer, self.payee = self._sign_in("alice"), self._sign_in("bob")

    @task(9)
    def pay(self) -> None:
        """Transfer one cent, and back the next time."""
        (source_id, token), (destination_id, _) = self.payer, self.payee
        payment = {
            "request_id": str(uuid4()),
            "source_account_id": source_id,
            "destination_account_id": destination_id,
            "amount_minor": 1,
            "currency_code": "USD",
        }
        if self.client.post("/v1/transfers", json=payment, headers=_headers(token)).ok:
            self.payer, self.payee = self.payee, self.payer

    @task(1)
    def read(self) -> None:
        """List the newest entries."""
        account_id, token = self.payer
        path = f"/v1/accounts/{account_id}/entries?page_size=20"
        self.client.get(path, headers=_headers(token), name="/v1/accounts/{account_id}/entries")

    def _sign_in(self, username: str) -> tuple[str, str]:
        """The user's newest account, and an access token."""
        for _ in range(_TRIES_MAX):
            credentials = {"username": username, "password": PASSWORD}
            with self.client.post("/v1/sessions", json=credentials, catch_response=True) as reply:
                if reply.status_code != _TOO_MANY:
                    break
                # Only a few passwords are checked at once; that this one has to wait is no failure.
                reply.success()
            sleep(0.5)
        token = reply.json()["access_token"]
        accounts = self.client.get("/v1/accounts", headers=_headers(token)).json()["accounts"]
        return accounts[-1]["id"], token


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
