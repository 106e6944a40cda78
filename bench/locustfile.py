"""The load for people who prefer a user interface: Locust, over JSON, as the demo users of `make run`.

    pip install locust
    locust -f bench/locustfile.py --host http://localhost:8080

Start `make run` first. Nine calls in ten are transfers of a cent between alice and bob, the tenth
lists entries. Refused transfers (no funds left) count as failures: deposit more, or run `make reset`.
"""

from itertools import cycle
from uuid import uuid4

from locust import HttpUser, between, task

PASSWORD = "local demo passphrase"  # noqa: S105 - the one that `make run` prints
_names = cycle(("alice", "bob"))


class Payer(HttpUser):
    """Signs in as alice or bob in turn and pays the other a cent."""

    wait_time = between(0, 0.1)

    def on_start(self) -> None:
        """Sign in both: the other one's account is where the money goes."""
        own = next(_names)
        other = "bob" if own == "alice" else "alice"
        self.own, self.token = self._account(own)
        self.other, _ = self._account(other)

    @task(9)
    def pay(self) -> None:
        """Transfer one cent."""
        payment = {
            "request_id": str(uuid4()),
            "source_account_id": self.own,
            "destination_account_id": self.other,
            "amount_minor": 1,
            "currency_code": "USD",
        }
        self.client.post("/v1/transfers", json=payment, headers=self._headers(self.token))

    @task(1)
    def read(self) -> None:
        """List the newest entries."""
        self.client.get(
            f"/v1/accounts/{self.own}/entries?page_size=20",
            headers=self._headers(self.token),
            name="/v1/accounts/{account_id}/entries",
        )

    def _account(self, username: str) -> tuple[str, str]:
        session = self.client.post("/v1/sessions", json={"username": username, "password": PASSWORD}).json()
        accounts = self.client.get("/v1/accounts", headers=self._headers(session["access_token"])).json()
        return accounts["accounts"][-1]["id"], session["access_token"]

    @staticmethod
    def _headers(token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}
