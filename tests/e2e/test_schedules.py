"""Scheduled transfers and the hash chain as users meet them: the running worker does its part."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.conftest import Bank, Person, transfer_fields


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


async def schedule(bank: Bank, owner: Person, fields: dict[str, Any]) -> dict[str, Any]:
    """Schedule over JSON, ask again over gRPC; the scheduled transfer."""
    answers = [await wire.call("CreateScheduledTransfer", fields, owner.token) for wire in (bank.json, bank.grpc)]
    assert [(answer.code, answer.reply["replayed"]) for answer in answers] == [("OK", False), ("OK", True)]
    first, again = (answer.reply["scheduled_transfer"] for answer in answers)
    assert first["id"] == again["id"]
    return dict(first)


class TestScheduledTransfer:
    async def test_it_is_made_when_it_is_due(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        fields = transfer_fields(source, destination, 30, description="rent", execute_time=at(3))
        scheduled = await schedule(bank, alice, fields)
        assert scheduled["state"] == "SCHEDULED_TRANSFER_STATE_SCHEDULED"
        async with asyncio.timeout(15):
            while scheduled["state"] == "SCHEDULED_TRANSFER_STATE_SCHEDULED":
                await asyncio.sleep(0.2)
                answer = await bank.json.call(
                    "GetScheduledTransfer", {"scheduled_transfer_id": scheduled["id"]}, alice.token
                )
                scheduled = answer.reply["scheduled_transfer"]
        assert scheduled["state"] == "SCHEDULED_TRANSFER_STATE_POSTED"
        transfer = await bank.grpc.call("GetTransfer", {"transfer_id": scheduled["transfer_id"]}, bob.token)
        assert transfer.reply["transfer"]["description"] == "rent"
        assert await bank.posted_minor(destination) == 30

    async def test_it_is_canceled_over_both_wires_and_listed(self, bank: Bank) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(alice)
        scheduled = await schedule(bank, alice, transfer_fields(source, destination, 30, execute_time=at(3600)))
        named = {"scheduled_transfer_id": scheduled["id"]}
        for wire in bank.wires:
            canceled = await wire.call("CancelScheduledTransfer", named, alice.token)
            assert canceled.reply["scheduled_transfer"]["state"] == "SCHEDULED_TRANSFER_STATE_CANCELED"
        filters = {"account_id": source, "state": "SCHEDULED_TRANSFER_STATE_CANCELED"}
        listed = await bank.both("ListScheduledTransfers", filters, alice.token)
        assert [row["id"] for row in listed.reply["scheduled_transfers"]] == [scheduled["id"]]

    async def test_refusals_are_told_alike(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice), await bank.account(bob)
        scheduled = await schedule(bank, alice, transfer_fields(source, destination, execute_time=at(3600)))
        named = {"scheduled_transfer_id": scheduled["id"]}
        assert (await bank.both("GetScheduledTransfer", named, bob.token)).reason == "NOT_FOUND"
        assert (await bank.both("CancelScheduledTransfer", named, bob.token)).reason == "NOT_FOUND"
        past = transfer_fields(source, destination, execute_time=at(-1))
        assert (await bank.both("CreateScheduledTransfer", past, alice.token)).code == "INVALID_ARGUMENT"
        missing = transfer_fields(source, destination)
        assert (await bank.both("CreateScheduledTransfer", missing, alice.token)).reason == "INVALID_REQUEST"
        # Not before: what the worker does about it is no doing of the calls above.
        await bank.owner.execute("UPDATE scheduled_transfers SET execute_time = now() WHERE id = $1", scheduled["id"])
        async with asyncio.timeout(15):
            while await bank.owner.fetchval("SELECT state FROM scheduled_transfers WHERE id = $1", scheduled["id"]) != (
                "FAILED"
            ):
                await asyncio.sleep(0.2)
        failed = await bank.both("GetScheduledTransfer", named, alice.token)
        assert failed.reply["scheduled_transfer"]["failure_reason"] == "INSUFFICIENT_FUNDS"
        answer = await bank.both("CancelScheduledTransfer", named, alice.token)
        assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "SCHEDULE_NOT_PENDING")

    async def test_account_that_shall_pay_one_is_not_closed_and_the_other_is(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice), await bank.account(bob)
        await schedule(bank, alice, transfer_fields(source, destination, execute_time=at(3600)))
        answer = await bank.both("CloseAccount", {"account_id": source}, alice.token)
        assert (answer.reason, answer.metadata["obligations"]) == ("ACCOUNT_NOT_EMPTY", "scheduled transfer")
        answer = await bank.grpc.call("CloseAccount", {"account_id": destination}, bob.token)
        assert answer.code == "OK"


class TestVerifyLedger:
    @pytest.mark.timeout(90)
    async def test_running_worker_seals_what_was_posted(self, bank: Bank) -> None:
        admin, alice = bank.people["admin"], await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(alice)
        posted = await bank.grpc.call("CreateTransfer", transfer_fields(source, destination), alice.token)
        sealed = "SELECT count(*) FROM ledger_blocks WHERE $1 = ANY(transfer_ids)"
        async with asyncio.timeout(30):
            while not await bank.owner.fetchval(sealed, posted.reply["transfer"]["id"]):
                await asyncio.sleep(0.3)
        first = await bank.json.call("VerifyLedger", {}, admin.token)
        assert first.reply["consistent"], first
        head = first.reply["head"]
        kept = {"expected_head_position": head["position"], "expected_head_hash": head["hash"]}
        log = (bank.stack.state_dir / "logs" / "worker.log").read_text()
        assert any("ledger_head" in line and head["hash"] in line for line in log.splitlines())
        again = await bank.grpc.call("VerifyLedger", kept, admin.token)
        assert again.reply["consistent"], again
        other = await bank.grpc.call("VerifyLedger", {**kept, "expected_head_hash": str(uuid4().hex) * 2}, admin.token)
        assert [each["rule"] for each in other.reply["differences"]] == ["LEDGER_RULE_CHAIN"]
        half = await bank.both("VerifyLedger", {"expected_head_position": "1"}, admin.token)
        assert (half.code, half.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
