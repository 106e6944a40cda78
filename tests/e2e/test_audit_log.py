"""The audit log through the gateway: where a call came from, as the gateway and not the client says."""

from tests.e2e.conftest import Bank

AGENT = "teller/3.1 (counter 7)"
SPOOFED = [
    ("x-forwarded-for", "203.0.113.9"),
    ("x-envoy-external-address", "203.0.113.9"),
    ("x-request-id", "made up by the client"),
]


class TestListAuditEvents:
    async def test_event_has_address_program_and_trace_id_of_its_call(self, bank: Bank) -> None:
        owner, banker = await bank.person(), bank.people["banker"]
        account_id = await bank.account(owner)
        reply = await bank.json.send(
            "FreezeAccount", {"account_id": account_id}, banker.token, [*SPOOFED, ("user-agent", AGENT)]
        )
        assert reply.status == 200, reply
        trace_id = reply.headers["x-request-id"]
        assert trace_id != dict(SPOOFED)["x-request-id"]
        frozen = {"type": "AUDIT_EVENT_TYPE_ACCOUNT_FROZEN", "user_id": owner.user_id}
        listed = await bank.both("ListAuditEvents", frozen, bank.people["admin"].token)
        (event,) = listed.reply["audit_events"]
        assert event.pop("id")
        assert event.pop("create_time")
        assert event == {
            "type": "AUDIT_EVENT_TYPE_ACCOUNT_FROZEN",
            "user_id": owner.user_id,
            "actor_user_id": banker.user_id,
            "session_id": banker.session_id,
            "account_id": account_id,
            "client_address": "127.0.0.1",
            "user_agent": AGENT,
            "trace_id": trace_id,
            "details": {"old_state": "OPEN"},
        }

    async def test_only_admins_read_it_and_only_by_what_exists(self, bank: Bank) -> None:
        for username in ("banker", "merchant", "alice"):
            refused = await bank.both("ListAuditEvents", {}, bank.people[username].token)
            assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        wrong = {"user_id": "alice", "page_size": -1}
        refused = await bank.both("ListAuditEvents", wrong, bank.people["admin"].token)
        assert refused.violated_fields == ["user_id", "page_size"]

    async def test_pages_follow_each_other_over_either_wire(self, bank: Bank) -> None:
        admin, wanted = bank.people["admin"].token, {"type": "AUDIT_EVENT_TYPE_SIGNED_IN", "page_size": 2}
        found, page_token = [], ""
        for wire in bank.wires * 2:
            answer = await wire.call("ListAuditEvents", {**wanted, "page_token": page_token}, admin)
            found += [event["id"] for event in answer.reply["audit_events"]]
            page_token = answer.reply["next_page_token"]
            if not page_token:
                break
        assert found == sorted(set(found), reverse=True)
        assert len(found) >= 5  # the demo users have signed in
