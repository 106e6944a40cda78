"""Settings, states, balances and statements of accounts, as a JSON client calls them."""

from tests.e2e.conftest import Bank, transfer_fields


class TestAccountsOverJson:
    async def test_life_of_an_account(self, bank: Bank) -> None:
        owner, banker, call = await bank.person(), bank.people["banker"].token, bank.json.call
        account_id, other = await bank.account(owner, 100), await bank.account(await bank.person())
        named = {"account_id": account_id}
        changed = await call(
            "UpdateAccount",
            {
                "account": {"id": account_id, "display_name": "Rent", "metadata": {"colour": "blue"}, "version": "1"},
                "update_mask": "display_name,metadata",
            },
            owner.token,
        )
        assert changed.code == "OK", changed
        assert changed.reply["account"]["metadata"] == {"colour": "blue"}
        stale = {"account": {"id": account_id, "display_name": "Food", "version": "1"}, "update_mask": "display_name"}
        assert (await call("UpdateAccount", stale, owner.token)).reason == "STALE_VERSION"

        frozen = await call("FreezeAccount", named, banker)
        assert frozen.reply["account"]["state"] == "ACCOUNT_STATE_FROZEN"
        pay = transfer_fields(account_id, other, 100, metadata={"colour": "red"})
        assert (await call("CreateTransfer", pay, owner.token)).reason == "ACCOUNT_FROZEN"
        assert (await call("UnfreezeAccount", named, banker)).code == "OK"
        assert (await call("CloseAccount", named, owner.token)).reason == "ACCOUNT_NOT_EMPTY"
        paid = await call("CreateTransfer", pay, owner.token)
        assert paid.code == "OK", paid
        closed = await call("CloseAccount", named, owner.token)
        assert closed.reply["account"]["state"] == "ACCOUNT_STATE_CLOSED"

        instant = paid.reply["entries"][0]["create_time"]
        then = await call("GetBalance", {**named, "at_time": instant}, owner.token)
        assert (then.reply["balance"]["posted_minor"], "held_minor" in then.reply["balance"]) == ("0", False)
        statement = await call("GetStatement", {**named, "end_time": instant}, owner.token)
        assert (statement.reply["opening_balance_minor"], statement.reply["closing_balance_minor"]) == ("0", "100")
        label = {"metadata_key": "colour", "metadata_value": "red"}
        listed = await call("ListTransfers", label, owner.token)
        assert [transfer["id"] for transfer in listed.reply["transfers"]] == [paid.reply["transfer"]["id"]]

    async def test_trial_balance_is_told_to_admins(self, bank: Bank) -> None:
        answer = await bank.json.call("GetTrialBalance", {}, bank.people["admin"].token)
        assert answer.code == "OK", answer
        assert {each["difference_minor"] for each in answer.reply["balances"]} == {"0"}
        refused = await bank.both("GetTrialBalance", {}, bank.people["alice"].token)
        assert refused.code == "PERMISSION_DENIED"
