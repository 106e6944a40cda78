"""A bank whose people have webhooks."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from bank.v1 import webhook_service_pb2 as pb
from bank.v1.webhook_service_pb2_grpc import WebhookServiceStub

from tests.conftest import Database
from tests.server.bank import Bank, Person
from tests.server.bank_server import Metadata, ServedBank, serving_bank

URL = "http://127.0.0.1:21299/hooks"


class Desk:
    """Alice and Bob at the service's door."""

    def __init__(self, served: ServedBank) -> None:
        self.bank: Bank = served.bank
        self.served = served
        self.stub = WebhookServiceStub(served.channel)

    async def begin(self) -> "Desk":
        self.alice: Person = await self.bank.person()
        self.bob: Person = await self.bank.person()
        self.as_alice: Metadata = self.served.signed_in(self.alice)
        self.as_bob: Metadata = self.served.signed_in(self.bob)
        return self

    def new(self, **changes: object) -> pb.CreateWebhookRequest:
        values: dict[str, object] = {"request_id": str(uuid4()), "url": URL, "description": "shop"}
        return pb.CreateWebhookRequest(**{**values, **changes})  # type: ignore[arg-type]  # values by name

    async def create(self, **changes: object) -> pb.CreateWebhookResponse:
        created: pb.CreateWebhookResponse = await self.stub.CreateWebhook(self.new(**changes), metadata=self.as_alice)
        return created

    async def deliver(self, webhook_id: str, position: int, state: str = "PENDING") -> str:
        """Store a delivery; its id."""
        delivery_id = uuid4()
        await self.bank.pool.execute(
            "INSERT INTO webhook_deliveries (id, webhook_id, position, event_type, subject_id, state, attempt_count,"
            " response_status, failure, next_attempt_time, end_time)"
            " VALUES ($1, $2, $3, 'transfer.posted', $4, $5::text, 1, 500,"
            " CASE WHEN $5 <> 'DELIVERED' THEN 'STATUS' END, CASE WHEN $5 = 'PENDING' THEN now() END,"
            " CASE WHEN $5 <> 'PENDING' THEN now() END)",
            delivery_id,
            UUID(webhook_id),
            position,
            uuid4(),
            state,
        )
        return str(delivery_id)

    async def everything(self) -> list[object]:
        """All rows that webhooks consist of, to show that a refused call changed none."""
        tables = ("webhooks", "webhook_secrets", "webhook_deliveries", "requests", "outbox", "audit_events")
        return [[tuple(row) for row in await self.bank.pool.fetch(f"SELECT * FROM {t} ORDER BY 1, 2")] for t in tables]


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with serving_bank(database) as served:
        yield await Desk(served).begin()
