"""Products and orders as users meet them: over both wires, with the worker running."""

import asyncio
from typing import Any
from uuid import uuid4

from tests.e2e.conftest import Bank, Person


async def offer(bank: Bank, merchant: Person, account_id: str, quantity: int = 10) -> dict[str, Any]:
    """Offer a product over JSON, ask again over gRPC; the product."""
    fields = {
        "request_id": str(uuid4()),
        "name": f"Kite {uuid4().hex}",
        "price_minor": 5,
        "currency_code": "USD",
        "settlement_account_id": account_id,
        "initial_quantity": quantity,
    }
    answers = [await wire.call("CreateProduct", fields, merchant.token) for wire in (bank.json, bank.grpc)]
    assert [(answer.code, answer.reply.get("replayed")) for answer in answers] == [("OK", False), ("OK", True)]
    assert answers[0].reply["product"] == answers[1].reply["product"]
    return dict(answers[0].reply["product"])


async def order(bank: Bank, buyer: Person, account_id: str, product_id: str, quantity: int = 1) -> dict[str, Any]:
    """Order over JSON, ask again over gRPC; the order."""
    fields = {
        "request_id": str(uuid4()),
        "payment_account_id": account_id,
        "items": [{"product_id": product_id, "quantity": quantity}],
        "expected_total_minor": 5 * quantity,
    }
    answers = [await wire.call("CreateOrder", fields, buyer.token) for wire in (bank.json, bank.grpc)]
    assert [(answer.code, answer.reply.get("replayed")) for answer in answers] == [("OK", False), ("OK", True)]
    assert answers[0].reply["order"] == answers[1].reply["order"]
    return dict(answers[0].reply["order"])


async def place(bank: Bank, buyer: Person, account_id: str) -> dict[str, Any]:
    """An order with a merchant who is new."""
    merchant = await bank.person(roles=("DEPOSITOR", "MERCHANT"))
    product = await offer(bank, merchant, await bank.account(merchant))
    return await order(bank, buyer, account_id, product["id"])


class TestOrder:
    async def test_it_goes_all_the_way_over_both_wires(self, bank: Bank) -> None:
        merchant, buyer = await bank.person(roles=("DEPOSITOR", "MERCHANT")), await bank.person()
        settlement, payment = await bank.account(merchant), await bank.account(buyer, 100)
        product = await offer(bank, merchant, settlement)
        placed = await order(bank, buyer, payment, product["id"], 2)
        states = [placed[name] for name in ("state", "payment_state", "fulfillment_state")]
        assert states == ["ORDER_STATE_PLACED", "PAYMENT_STATE_HELD", "FULFILLMENT_STATE_RESERVED"]
        named = {"order_id": placed["id"]}
        for rpc in ("ShipOrder", "DeliverOrder"):
            first, again = [await wire.call(rpc, named, merchant.token) for wire in bank.wires]
            assert (first.code, again.reply) == ("OK", first.reply)
        fields = {
            "request_id": str(uuid4()),
            "amount_minor": 4,
            "restock_items": [{"product_id": product["id"], "quantity": 1}],
            **named,
        }
        refunds = [await wire.call("RefundOrder", fields, merchant.token) for wire in (bank.json, bank.grpc)]
        assert [answer.reply.get("replayed") for answer in refunds] == [False, True]
        assert refunds[0].reply["order"] == refunds[1].reply["order"]
        assert refunds[0].reply["order"]["payment_state"] == "PAYMENT_STATE_PARTIALLY_REFUNDED"
        assert (await bank.posted_minor(payment), await bank.posted_minor(settlement)) == (94, 6)
        seen = await bank.both("GetProduct", {"product_id": product["id"]}, buyer.token)
        assert [int(seen.reply["product"][name]) for name in ("on_hand", "reserved", "available")] == [9, 0, 9]
        found = await bank.both("ListProducts", {"query": product["name"].upper()}, buyer.token)
        assert [each["id"] for each in found.reply["products"]] == [product["id"]]
        listed = await bank.both("ListOrders", {"party": "ORDER_PARTY_BUYER"}, buyer.token)
        assert [each["id"] for each in listed.reply["orders"]] == [placed["id"]]

    async def test_product_is_changed_counted_and_archived_over_json(self, bank: Bank) -> None:
        merchant = await bank.person(roles=("DEPOSITOR", "MERCHANT"))
        product = await offer(bank, merchant, await bank.account(merchant))
        changed = await bank.json.call(
            "UpdateProduct",
            {"product": {"id": product["id"], "price_minor": "7", "version": "1"}, "update_mask": "priceMinor"},
            merchant.token,
        )
        assert (changed.code, changed.reply["product"]["price_minor"]) == ("OK", "7")
        counted = await bank.json.call(
            "AdjustInventory",
            {"product_id": product["id"], "request_id": str(uuid4()), "to_zero": True, "reason": "counted"},
            merchant.token,
        )
        assert (counted.code, counted.reply["product"]["available"]) == ("OK", "0")
        archived = await bank.json.call("ArchiveProduct", {"product_id": product["id"]}, merchant.token)
        assert archived.reply["product"]["state"] == "PRODUCT_STATE_ARCHIVED"

    async def test_worker_ends_what_is_not_shipped_in_time(self, bank: Bank) -> None:
        buyer = await bank.person()
        payment = await bank.account(buyer, 100)
        placed = await place(bank, buyer, payment)
        for table, column in (("orders", "id"), ("holds", "order_id")):
            await bank.owner.execute(
                f"UPDATE {table} SET expire_time = now() WHERE {column} = $1",
                placed["id"],
            )
        stored = "SELECT state FROM orders WHERE id = $1"
        async with asyncio.timeout(15):
            while await bank.owner.fetchval(stored, placed["id"]) != "EXPIRED":
                await asyncio.sleep(0.1)
        seen = await bank.both("GetOrder", {"order_id": placed["id"]}, buyer.token)
        assert seen.reply["order"]["state"] == "ORDER_STATE_EXPIRED"
        reserved = "SELECT reserved FROM products WHERE id = $1"
        assert await bank.owner.fetchval(reserved, placed["items"][0]["product_id"]) == 0

    async def test_refusals_are_told_alike(self, bank: Bank) -> None:
        buyer = await bank.person()
        payment = await bank.account(buyer, 100)
        placed = await place(bank, buyer, payment)
        items = [{"product_id": placed["items"][0]["product_id"], "quantity": 11}]
        for fields, reason in (
            ({"items": items}, "OUT_OF_STOCK"),
            ({"items": items, "expected_total_minor": 1}, "PRICE_CHANGED"),
            ({"items": []}, "INVALID_REQUEST"),
        ):
            request = {"request_id": str(uuid4()), "payment_account_id": payment, **fields}
            assert (await bank.both("CreateOrder", request, buyer.token)).reason == reason
        for rpc in ("ShipOrder", "DeliverOrder"):
            answer = await bank.both(rpc, {"order_id": placed["id"]}, buyer.token)
            assert answer.reason == "PERMISSION_DENIED"
