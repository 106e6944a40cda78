import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

import pytest
from arq.worker import Retry
from bankdb import mail_tokens

from local.ports import free_ports
from server.database import Database, open_pool
from server.jobs import Job
from server.tokens import digest
from tests.worker.surroundings import Bank, eventually, link_to, read_settings
from worker.settings import MAIL as MAIL_LANE
from worker.settings import TRIES_MAX

MAIL = Job.SEND_VERIFICATION_EMAIL
NOTICE = Job.SEND_SECURITY_NOTICE
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
HEADERS = sorted(["From", "To", "Subject", "Message-ID", "Date", "Auto-Submitted", "MIME-Version", "Content-Type"])
HOSTILE = [
    "\r\nBcc: mallory@evil.example",
    "\n\nBcc: mallory@evil.example\n.\nMAIL FROM:<mallory@evil.example>",
    "\r\n.\r\nRCPT TO:<mallory@evil.example>\r\nDATA",
    "https://evil.example/sign-in",
    "evil.example/sign-in",
    "<b>evil</b><script>evil()</script>",
    "{{ 7 * 7 }} evil {% raw %}",
    "mallory@evil.example, other@evil.example",
]
"""What somebody may send as a user agent."""


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    text: str = part.get_content()
    return text.replace("\r\n", "\n")


class TestVerificationEmail:
    async def test_mail_says_the_same_in_text_and_html_and_loads_nothing(self, bank: Bank) -> None:
        user, _, job = await bank.sign_up()
        await bank.attempt(MAIL, job)
        (mail,) = bank.sink.accepted
        text, html = body(mail, "plain"), body(mail, "html")
        link = re.search(r"^http://bank\.example:8080/verify-email\.html#token=\S+$", text, re.MULTILINE)
        assert link is not None
        assert re.findall(r'href="([^"]*)"', html) == [link[0], link[0]]
        assert html.count(link[0]) == 3
        assert "Hello alice" in text
        assert "Hello alice" in html
        assert not re.search(r"\bsrc=|url\(|<script|<link", html)
        assert user.full_name not in text + html

    async def test_link_carries_the_token_that_is_stored(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        await bank.attempt(MAIL, job)
        token = body(bank.sink.accepted[0], "plain").split("#token=")[1].split()[0]
        assert digest(token) == await bank.value("SELECT token_hash FROM mail_tokens WHERE id = $1", job)

    async def test_headers_name_sender_recipient_and_job(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        await bank.attempt(MAIL, job)
        (mail,) = bank.sink.accepted
        assert mail["From"] == "The Bank <no-reply@bank.example>"
        assert mail["To"] == "alice@example.org"
        assert mail["Subject"] == "Confirm your email address"
        assert mail["Message-ID"] == f"<{job}@bank.example>"
        assert mail["Auto-Submitted"] == "auto-generated"

    async def test_second_run_sends_nothing(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        await bank.attempt(MAIL, job)
        await bank.attempt(MAIL, job)
        assert len(bank.sink.offered) == 1

    async def test_run_after_a_lost_done_mark_sends_the_same_mail(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        await bank.attempt(MAIL, job)
        await bank.stored.pool.execute("UPDATE outbox SET done_time = NULL WHERE id = $1", job)
        await bank.attempt(MAIL, job)
        first, second = bank.sink.accepted
        assert first.as_bytes() == second.as_bytes()

    async def test_database_lost_between_mail_and_mark_sends_no_second_mail(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        async with link_to(bank.environment["DATABASE_URL"]) as (link, url):
            pool = await open_pool(url, size=2)
            bank.database = Database(pool)
            bank.sink.answers = ["pause"]
            attempt = asyncio.create_task(bank.attempt(MAIL, job))
            await eventually(lambda: bank.sink.offered)
            await link.cut()
            await eventually(lambda: bank.sink.accepted)
            await asyncio.sleep(1)
            assert await bank.state(job) == "open"
            await link.open()
            await attempt
            await pool.close()
        assert await bank.state(job) == "done"
        assert len(bank.sink.offered) == 1

    async def test_mark_that_failed_is_made_by_the_next_try_without_a_second_mail(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        work = bank.work(MAIL_LANE)
        queue = bank.queue(replace(MAIL_LANE, timeout_s=2))
        async with link_to(bank.environment["DATABASE_URL"]) as (link, url):
            pool = await open_pool(url, size=2)
            bank.database = Database(pool)
            work = bank.work(MAIL_LANE)
            bank.sink.answers = ["pause"]
            attempt = asyncio.create_task(queue.attempt(MAIL, work[MAIL], job, 1))
            await eventually(lambda: bank.sink.offered)
            await link.cut()
            with pytest.raises(Retry):
                await attempt
            assert await bank.state(job) == "open"
            await link.open()
            await queue.attempt(MAIL, work[MAIL], job, 2)
            await pool.close()
        assert await bank.state(job) == "done"
        assert len(bank.sink.offered) == 1

    async def test_life_of_the_link_begins_when_the_mail_is_sent(self, bank: Bank) -> None:
        """As when no worker ran for days."""
        _, _, job = await bank.sign_up()
        await bank.alter(
            "UPDATE mail_tokens SET create_time = now() - '3 d'::interval, expire_time = now() - '2 d'::interval"
        )
        await bank.attempt(MAIL, job)
        assert len(bank.sink.accepted) == 1
        left = await bank.value("SELECT extract(epoch FROM expire_time - now()) FROM mail_tokens WHERE id = $1", job)
        assert 86_390 < left <= 86_400

    async def test_late_mail_is_dated_when_it_is_sent_and_repeated_as_it_was(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        await bank.alter("UPDATE mail_tokens SET expire_time = expire_time - interval '6 min'")
        await bank.attempt(MAIL, job)
        await bank.alter("UPDATE outbox SET done_time = NULL")
        await asyncio.sleep(1.1)
        await bank.attempt(MAIL, job)
        first, second = bank.sink.accepted
        assert first.as_bytes() == second.as_bytes()
        assert abs((parsedate_to_datetime(first["Date"]) - datetime.now(UTC)).total_seconds()) < 30

    async def test_longer_life_of_a_link_is_not_cut(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        await bank.alter("UPDATE mail_tokens SET expire_time = now() + interval '25 h'")
        await bank.attempt(MAIL, job)
        assert await bank.value("SELECT expire_time > now() + interval '24 h' FROM mail_tokens WHERE id = $1", job)

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE mail_tokens SET use_time = now()",
            "DELETE FROM mail_tokens",
            "UPDATE users SET disabled = true",
        ],
    )
    async def test_link_of_no_use_is_not_sent(self, bank: Bank, change: str) -> None:
        _, _, job = await bank.sign_up()
        await bank.alter(change)
        await bank.attempt(MAIL, job)
        assert bank.sink.offered == []
        assert await bank.state(job) == "done"

    async def test_temporary_refusal_is_tried_again(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        bank.sink.answers = ["451 4.7.1 greylisted"]
        with pytest.raises(Retry):
            await bank.attempt(MAIL, job)
        assert await bank.state(job) == "open"
        await bank.attempt(MAIL, job, tries=2)
        assert len(bank.sink.accepted) == 1
        assert await bank.state(job) == "done"

    async def test_final_refusal_is_a_dead_letter_without_the_servers_text(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        bank.sink.answers = ["554 5.7.1 the link http://bank.example/#token=secret looks bad"]
        await bank.attempt(MAIL, job)
        assert await bank.state(job) == "dead"
        error = await bank.value("SELECT last_error FROM outbox WHERE id = $1", job)
        assert error == "CannotSucceedError: mail server: SMTPDataError 554 5.7.1"

    async def test_last_try_is_a_dead_letter(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        bank.sink.answers = ["451 4.7.1 greylisted"]
        await bank.attempt(MAIL, job, tries=TRIES_MAX)
        assert await bank.state(job) == "dead"

    async def test_absent_server_is_tried_again(self, bank: Bank) -> None:
        bank.settings = read_settings({**bank.environment, "SMTP_PORT": str(free_ports(1))})
        _, _, job = await bank.sign_up()
        with pytest.raises(Retry):
            await bank.attempt(MAIL, job)
        assert await bank.state(job) == "open"

    async def test_hanging_server_is_cut_off_and_tried_again(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("worker.mail_server.SMTP_TIMEOUT_S", 0.3)
        _, _, job = await bank.sign_up()
        bank.sink.answers = ["hang"]
        with pytest.raises(Retry):
            await bank.attempt(MAIL, job)
        assert await bank.state(job) == "open"

    @pytest.mark.parametrize(
        "address",
        [
            "alice@example.org\r\nBcc: mallory@example.org",
            "alice@example.org, mallory@example.org",
            "Alice <alice@example.org>",
            "no address",
        ],
    )
    async def test_address_that_is_more_or_less_than_one_is_a_dead_letter(self, bank: Bank, address: str) -> None:
        _, _, job = await bank.sign_up(address=address)
        await bank.attempt(MAIL, job)
        assert bank.sink.offered == []
        assert await bank.state(job) == "dead"
        assert bank.sink.recipients == []


class TestPasswordResetEmail:
    async def test_mail_carries_the_link_to_the_page_and_the_token_that_is_stored(self, bank: Bank) -> None:
        user, _, _ = await bank.sign_up()
        job = await bank.forget_password(user)
        await bank.attempt(Job.SEND_PASSWORD_RESET_EMAIL, job)
        (mail,) = bank.sink.accepted
        assert (mail["To"], mail["Subject"]) == ("alice@example.org", "Set a new password")
        text, html = body(mail, "plain"), body(mail, "html")
        link = re.search(r"^http://bank\.example:8080/reset-password\.html#token=(\S+)$", text, re.MULTILINE)
        assert link is not None
        assert digest(link[1]) == await bank.value("SELECT token_hash FROM mail_tokens WHERE id = $1", job)
        assert re.findall(r'href="([^"]*)"', html) == [link[0], link[0]]
        assert "one hour" in text
        assert "one hour" in html

    async def test_link_lives_one_hour_from_when_the_mail_is_sent(self, bank: Bank) -> None:
        user, _, _ = await bank.sign_up()
        job = await bank.forget_password(user)
        await bank.alter("UPDATE mail_tokens SET expire_time = now()")
        await bank.attempt(Job.SEND_PASSWORD_RESET_EMAIL, job)
        left = await bank.value("SELECT extract(epoch FROM expire_time - now()) FROM mail_tokens WHERE id = $1", job)
        assert 3_590 < left <= 3_600

    async def test_superseded_link_is_not_sent(self, bank: Bank) -> None:
        user, _, _ = await bank.sign_up()
        job = await bank.forget_password(user)
        await mail_tokens.mark_mail_tokens_superseded(bank.stored.pool, user_id=user.id, purpose="RESET_PASSWORD")
        await bank.attempt(Job.SEND_PASSWORD_RESET_EMAIL, job)
        assert bank.sink.offered == []
        assert await bank.state(job) == "done"


class TestSecurityNotice:
    async def test_notice_tells_what_when_and_from_where(self, bank: Bank) -> None:
        user, _, _ = await bank.sign_up()
        await bank.alter("UPDATE users SET email_verified = true")
        job = await bank.notify(user, "SIGNED_IN", "2001:DB8::1", FIREFOX)
        await bank.attempt(NOTICE, job)
        (mail,) = bank.sink.accepted
        assert (mail["To"], mail["Subject"]) == ("alice@example.org", "New sign-in")
        assert mail["Message-ID"] == f"<{job}@bank.example>"
        time = await bank.value("SELECT create_time FROM audit_events")
        text, html = body(mail, "plain"), body(mail, "html")
        for fact in ("Hello alice", f"{time:%H:%M} UTC", "2001:db8::1", "Firefox on Linux"):
            assert fact in text
            assert fact in html
        assert re.findall(r"href|src=|url\(", html) == []

    async def test_unproven_address_is_not_written_to(self, bank: Bank) -> None:
        user, _, _ = await bank.sign_up()
        job = await bank.notify(user)
        await bank.attempt(NOTICE, job)
        assert bank.sink.offered == []
        assert await bank.state(job) == "done"

    async def test_change_of_address_is_told_to_the_old_one(self, bank: Bank) -> None:
        user, _, _ = await bank.sign_up(address="new@example.org")
        job = await bank.notify(user, "EMAIL_CHANGED", old_email="old@example.org", new_email="new@example.org")
        await bank.attempt(NOTICE, job)
        (mail,) = bank.sink.accepted
        assert mail["To"] == "old@example.org"
        assert "new@example.org" not in body(mail, "plain") + body(mail, "html")

    async def test_disabled_user_is_told_too(self, bank: Bank) -> None:
        user, _, _ = await bank.sign_up()
        await bank.alter("UPDATE users SET email_verified = true, disabled = true")
        await bank.attempt(NOTICE, await bank.notify(user, "REFRESH_TOKEN_REUSED"))
        assert [mail["Subject"] for mail in bank.sink.accepted] == ["One of your sessions was ended"]

    async def test_second_run_sends_nothing(self, bank: Bank) -> None:
        user, _, _ = await bank.sign_up()
        await bank.alter("UPDATE users SET email_verified = true")
        job = await bank.notify(user)
        for _ in range(2):
            await bank.attempt(NOTICE, job)
        assert len(bank.sink.offered) == 1

    async def test_event_that_only_a_newer_worker_can_tell_waits_for_it(self, bank: Bank) -> None:
        user, _, _ = await bank.sign_up()
        await bank.alter("UPDATE users SET email_verified = true")
        job = await bank.notify(user, "MOVED_TO_THE_MOON")
        with pytest.raises(Retry):
            await bank.attempt(NOTICE, job)
        assert await bank.state(job) == "open"
        assert bank.sink.offered == []

    @pytest.mark.parametrize("hostile", HOSTILE)
    async def test_hostile_text_reaches_no_header_envelope_or_link(self, bank: Bank, hostile: str) -> None:
        user, _, _ = await bank.sign_up()
        await bank.alter("UPDATE users SET email_verified = true")
        job = await bank.notify(user, "SIGNED_IN", hostile, hostile, new_email=hostile)
        await bank.attempt(NOTICE, job)
        (mail,) = bank.sink.accepted
        assert sorted(mail.keys()) == HEADERS
        assert bank.sink.recipients == ["alice@example.org"]
        assert mail["To"] == "alice@example.org"
        for kind in ("plain", "html"):
            assert not re.search(r"mallory|evil|https?://(?!bank\.example)|Bcc|<b>|<script", body(mail, kind))

    @pytest.mark.parametrize("between", ["\r\nBcc: ", "\n", "\r", ", ", ";", " ", "> <"])
    async def test_two_addresses_in_the_place_of_one_are_a_dead_letter(self, bank: Bank, between: str) -> None:
        user, _, _ = await bank.sign_up()
        job = await bank.notify(user, "EMAIL_CHANGED", old_email=f"old@example.org{between}mallory@evil.example")
        await bank.attempt(NOTICE, job)
        assert await bank.state(job) == "dead"
        assert (bank.sink.offered, bank.sink.recipients) == ([], [])
