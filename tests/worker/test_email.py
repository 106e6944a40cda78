import re
from email.message import EmailMessage

import pytest
from arq.worker import Retry
from pydantic import SecretStr

from local.ports import free_ports
from server.jobs import Job
from server.tokens import digest
from tests.worker.surroundings import Bank, read_settings
from worker.settings import TRIES_MAX

MAIL = Job.SEND_VERIFICATION_EMAIL


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
        assert [*first.items()][:6] == [*second.items()][:6]
        for kind in ("plain", "html"):
            assert body(first, kind) == body(second, kind)

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE mail_tokens SET use_time = now()",
            "UPDATE mail_tokens SET expire_time = now()",
            "DELETE FROM mail_tokens",
            "UPDATE users SET email_verified = true",
            "UPDATE users SET email = 'elsewhere@example.org'",
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
        monkeypatch.setattr("worker.email._SMTP_TIMEOUT_S", 0.3)
        _, _, job = await bank.sign_up()
        bank.sink.answers = ["hang"]
        with pytest.raises(Retry):
            await bank.attempt(MAIL, job)
        assert await bank.state(job) == "open"

    async def test_server_without_the_tls_asked_for_gets_nothing(self, bank: Bank) -> None:
        bank.settings = read_settings({**bank.environment, "SMTP_TLS": "starttls"})
        _, _, job = await bank.sign_up()
        with pytest.raises(Retry):
            await bank.attempt(MAIL, job)
        assert bank.sink.offered == []

    async def test_refused_login_is_tried_again(self, bank: Bank) -> None:
        bank.settings = bank.settings.model_copy(
            update={"smtp_username": "bank", "smtp_password": SecretStr("wrong password")}
        )
        _, _, job = await bank.sign_up()
        with pytest.raises(Retry):
            await bank.attempt(MAIL, job)
        assert bank.sink.offered == []

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
