"""What people are sent, from the call that causes it to the link that is opened."""

import email
import email.policy
import re
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

from local.demo import DEMO_PASSWORD
from tests.e2e.conftest import Bank
from tests.worker.surroundings import eventually

PASSWORD = "seven blue herons at dusk"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
WITHIN_S = 15


def mails_to(bank: Bank, address: str) -> list[EmailMessage]:
    """Oldest first."""
    found = []
    for file in sorted(bank.stack.mail_dir.glob("[0-9]*.eml")):
        message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        if message["To"] == address:
            assert isinstance(message, EmailMessage)
            found.append(message)
    return found


async def mail_to(bank: Bank, address: str, subject: str) -> EmailMessage:
    """The newest mail with this subject, once there is one."""

    def found() -> list[EmailMessage]:
        return [mail for mail in mails_to(bank, address) if mail["Subject"] == subject]

    await eventually(found, WITHIN_S)
    return found()[-1]


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def token_in(mail: EmailMessage, page: str) -> str:
    link = re.search(rf"^http://\S+/{page}\.html#token=(\S+)$", text_of(mail), re.MULTILINE)
    assert link is not None
    return link[1]


async def ok(bank: Bank, rpc: str, fields: dict[str, Any], token: str = "", user_agent: str = "curl/8.5.0") -> Any:
    answer = await bank.json.call(rpc, fields, token, [("user-agent", user_agent)])
    assert answer.code == "OK", answer
    return answer.reply


class TestPasswordReset:
    async def test_link_sets_a_new_password_once_and_the_user_is_told(self, bank: Bank) -> None:
        username = await bank.sign_up()
        address = f"{username}@example.com"
        await ok(bank, "RequestPasswordReset", {"email": address})
        token = token_in(await mail_to(bank, address, "Set a new password"), "reset-password")
        await ok(bank, "ResetPassword", {"token": token, "new_password": PASSWORD}, user_agent=BROWSER)
        notice = text_of(await mail_to(bank, address, "Your password was reset"))
        assert "127.0.0.1" in notice
        assert "Firefox on Linux" in notice
        again = await bank.json.call("ResetPassword", {"token": token, "new_password": PASSWORD + "!"})
        assert (again.code, again.reason) == ("FAILED_PRECONDITION", "TOKEN_INVALID")
        await ok(bank, "CreateSession", {"username": username, "password": PASSWORD})

    async def test_nobody_else_is_written_to(self, bank: Bank) -> None:
        unproven = await bank.sign_up(verified=False)
        addresses = [f"{unproven}@example.com", f"{uuid4().hex}@example.com"]
        for address in addresses:
            await ok(bank, "RequestPasswordReset", {"email": address})
        # One that does get a mail shows that the others would have got theirs.
        username = await bank.sign_up()
        await ok(bank, "RequestPasswordReset", {"email": f"{username}@example.com"})
        await mail_to(bank, f"{username}@example.com", "Set a new password")
        assert [mails_to(bank, address) for address in addresses] == [[], []]


class TestSecurityNotices:
    async def test_sign_in_from_a_new_place_is_told_and_from_a_known_one_not(self, bank: Bank) -> None:
        username = await bank.sign_up()
        address = f"{username}@example.com"
        fields = {"username": username, "password": DEMO_PASSWORD}
        await ok(bank, "CreateSession", fields)
        await ok(bank, "CreateSession", fields, user_agent=BROWSER)
        notice = text_of(await mail_to(bank, address, "New sign-in"))
        assert "127.0.0.1" in notice
        assert "Firefox on Linux" in notice
        for user_agent in ("curl/8.5.0", BROWSER):
            await ok(bank, "CreateSession", fields, user_agent=user_agent)
        await bank.idle()
        assert len(mails_to(bank, address)) == 1

    async def test_change_of_password_is_told(self, bank: Bank) -> None:
        person = await bank.person()
        change = {"user_id": "me", "current_password": DEMO_PASSWORD, "new_password": PASSWORD}
        await ok(bank, "ChangePassword", change, person.token)
        notice = await mail_to(bank, f"{person.username}@example.com", "Your password was changed")
        assert f"Hello {person.username}," in text_of(notice)

    async def test_change_of_address_is_confirmed_at_the_new_one_and_told_to_the_old_one(self, bank: Bank) -> None:
        person = await bank.person()
        old, new = f"{person.username}@example.com", f"{person.username}@elsewhere.example"
        change = {"user_id": "me", "current_password": DEMO_PASSWORD, "new_email": new}
        await ok(bank, "ChangeEmail", change, person.token)
        await mail_to(bank, old, "Your email address is about to change")
        token = token_in(await mail_to(bank, new, "Confirm your email address"), "verify-email")
        verified = await ok(bank, "VerifyEmail", {"token": token})
        assert verified["user"]["email"] == new
        notice = await mail_to(bank, old, "Your email address was changed")
        assert "elsewhere.example" not in notice.as_string()
        # Nothing but the link was sent to the new one.
        assert [mail["Subject"] for mail in mails_to(bank, new)] == ["Confirm your email address"]

    async def test_owner_is_told_when_somebody_claims_their_address(self, bank: Bank) -> None:
        owner = await bank.sign_up()
        address = f"{owner}@example.com"
        claimant = f"u{uuid4().hex[:16]}"
        fields = {"username": claimant, "password": PASSWORD, "full_name": "Somebody", "email": address}
        await ok(bank, "CreateUser", fields)
        token = token_in(await mail_to(bank, address, "Confirm your email address"), "verify-email")
        refused = await bank.json.call("VerifyEmail", {"token": token})
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "TOKEN_INVALID")
        notice = text_of(await mail_to(bank, address, "Somebody tried to confirm your email address"))
        assert f"Hello {owner}," in notice
        assert claimant not in notice

    async def test_refresh_token_used_twice_is_told(self, bank: Bank) -> None:
        username = await bank.sign_up()
        session = await ok(bank, "CreateSession", {"username": username, "password": DEMO_PASSWORD})
        token = {"refresh_token": session["refresh_token"]}
        await ok(bank, "RefreshSession", token)
        await bank.owner.execute(
            "UPDATE refresh_tokens SET use_time = use_time - interval '11 s' WHERE session_id = $1",
            session["session"]["id"],
        )
        refused = await bank.json.call("RefreshSession", token)
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED")
        notice = await mail_to(bank, f"{username}@example.com", "One of your sessions was ended")
        assert f"Hello {username}," in text_of(notice)

    async def test_what_a_program_calls_itself_lures_nobody(self, bank: Bank) -> None:
        username = (await bank.person()).username
        lure = "Your account is locked: https://evil.example/unlock <a href='https://evil.example'>here</a>"
        await ok(bank, "CreateSession", {"username": username, "password": DEMO_PASSWORD}, user_agent=lure)
        notice = await mail_to(bank, f"{username}@example.com", "New sign-in")
        content = "".join(part.get_content() for part in notice.walk() if part.get_content_maintype() == "text")
        assert "evil" not in content
        assert "locked" not in content
        assert "href" not in content
