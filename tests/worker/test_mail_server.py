import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP
from arq.worker import Retry

from local.ports import free_ports
from server.config import SettingsRefusedError
from server.jobs import Job
from tests.worker.mail_servers import PASSWORD, USERNAME, Certificate, make_certificate, secure_sink
from tests.worker.surroundings import Bank, Link, ScriptedSink, eventually, link_to, read_settings, worker_process
from worker.mail_server import MailServer
from worker.settings import TRIES_MAX

MAIL = Job.SEND_VERIFICATION_EMAIL
MODES = ["starttls", "tls"]


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@asynccontextmanager
async def watched(bank: Bank, sink: ScriptedSink, **settings: str) -> AsyncIterator[Link]:
    """Have the bank send its mail to this sink, over a link that notes what is said."""
    async with link_to(f"smtp://127.0.0.1:{sink.port}/") as (link, _):
        bank.environment |= {"SMTP_PORT": str(link.port), **settings}
        bank.settings = read_settings(bank.environment)
        yield link


async def assert_tried_later(bank: Bank, job: UUID) -> None:
    with pytest.raises(Retry):
        await bank.attempt(MAIL, job)
    assert await bank.state(job) == "open"


def spoken_in_clear(link: Link, *secrets: str) -> list[str]:
    """Of these secrets those that the link carried, as they are or in base64."""
    sent = bytes(link.sent)
    return [text for text in secrets if text.encode() in sent or base64.b64encode(text.encode())[:-3] in sent]


class TestTls:
    @pytest.mark.parametrize("mode", MODES)
    async def test_mail_and_password_travel_encrypted(self, bank: Bank, certificate: Certificate, mode: str) -> None:
        sink = ScriptedSink(free_ports(1))
        user, _, job = await bank.sign_up()
        settings = {"SMTP_USERNAME": USERNAME, "SMTP_PASSWORD": PASSWORD, "SMTP_CA_FILE": str(certificate.file)}
        async with (
            secure_sink(sink, mode, certificate) as logins,
            watched(bank, sink, SMTP_TLS=mode, **settings) as link,
        ):
            await bank.attempt(MAIL, job)
            assert await bank.state(job) == "done"
            assert logins == [USERNAME.encode()]
            assert [mail["To"] for mail in sink.accepted] == [user.email]
            token = bank.tokens.make("VERIFY_EMAIL", job, user.id)
            login = f"\0{USERNAME}\0{PASSWORD}"
            assert spoken_in_clear(link, token, user.email, USERNAME, PASSWORD, login, "MAIL FROM") == []

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("flaw", ["unknown issuer", "another name", "expired"])
    async def test_server_that_cannot_prove_its_name_is_told_nothing(
        self, bank: Bank, certificate: Certificate, tmp_path: Path, mode: str, flaw: str
    ) -> None:
        shown = {
            "unknown issuer": certificate,
            "another name": make_certificate(tmp_path, "mail.example"),
            "expired": make_certificate(tmp_path, days=-1),
        }[flaw]
        trusted = {} if flaw == "unknown issuer" else {"SMTP_CA_FILE": str(shown.file)}
        sink = ScriptedSink(free_ports(1))
        user, _, job = await bank.sign_up()
        settings = {"SMTP_USERNAME": USERNAME, "SMTP_PASSWORD": PASSWORD, **trusted}
        async with (
            secure_sink(sink, mode, shown) as logins,
            watched(bank, sink, SMTP_TLS=mode, **settings) as link,
        ):
            await assert_tried_later(bank, job)
            assert (sink.offered, sink.recipients, logins) == ([], [], [])
            assert spoken_in_clear(link, user.email, USERNAME, PASSWORD, "AUTH", "MAIL FROM") == []

    async def test_server_without_starttls_is_told_nothing(self, bank: Bank, certificate: Certificate) -> None:
        sink = ScriptedSink(free_ports(1))
        _, _, job = await bank.sign_up()
        settings = {"SMTP_USERNAME": USERNAME, "SMTP_PASSWORD": PASSWORD, "SMTP_CA_FILE": str(certificate.file)}
        # It would take login and mail in the clear.
        async with (
            secure_sink(sink, "none", certificate) as logins,
            watched(bank, sink, SMTP_TLS="starttls", **settings) as link,
        ):
            await assert_tried_later(bank, job)
            assert (sink.offered, sink.recipients, logins) == ([], [], [])
            assert bytes(link.sent).split() == [b"EHLO", b"bank.example"]

    @pytest.mark.parametrize("mode", MODES)
    async def test_server_of_the_other_mode_is_told_nothing(
        self, bank: Bank, certificate: Certificate, mode: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # One of them waits for the other's first word.
        monkeypatch.setattr("worker.mail_server.SMTP_TIMEOUT_S", 1)
        sink = ScriptedSink(free_ports(1))
        user, _, job = await bank.sign_up()
        other = {"starttls": "tls", "tls": "starttls"}[mode]
        settings = {"SMTP_USERNAME": USERNAME, "SMTP_PASSWORD": PASSWORD, "SMTP_CA_FILE": str(certificate.file)}
        async with secure_sink(sink, other, certificate), watched(bank, sink, SMTP_TLS=mode, **settings) as link:
            await assert_tried_later(bank, job)
            assert sink.offered == []
            assert spoken_in_clear(link, user.email, USERNAME, PASSWORD, "AUTH", "MAIL FROM") == []

    @pytest.mark.parametrize("content", ["", "no certificate"])
    async def test_file_without_certificate_ends_the_worker_at_its_start(
        self, bank: Bank, tmp_path: Path, content: str
    ) -> None:
        file = tmp_path / "ca.pem"
        file.write_text(content)
        environment = {**bank.environment, "SMTP_TLS": "tls", "SMTP_CA_FILE": str(file)}
        with pytest.raises(SettingsRefusedError, match=r"^SMTP_CA_FILE: "):
            MailServer(read_settings(environment))
        async with worker_process(environment, tmp_path) as worker:
            assert await asyncio.wait_for(worker.process.wait(), 10) == 2
        assert "refusing to start: SMTP_CA_FILE: holds no certificate" in (tmp_path / "worker.log").read_text()

    @pytest.mark.parametrize("mode", MODES)
    async def test_worker_process_sends_over_tls(
        self, bank: Bank, certificate: Certificate, tmp_path: Path, mode: str
    ) -> None:
        sink = ScriptedSink(free_ports(1))
        _, _, job = await bank.sign_up()
        environment = {
            **bank.environment,
            "SMTP_PORT": str(sink.port),
            "SMTP_TLS": mode,
            "SMTP_CA_FILE": str(certificate.file),
            "SMTP_USERNAME": USERNAME,
            "SMTP_PASSWORD": PASSWORD,
        }
        async with secure_sink(sink, mode, certificate) as logins, worker_process(environment, tmp_path):
            await eventually(lambda: sink.accepted)
            await eventually(lambda: is_done(bank, job))
            assert logins == [USERNAME.encode()]


class TestLogin:
    @pytest.mark.parametrize("mode", MODES)
    async def test_refused_password_is_tried_again_and_sends_nothing(
        self, bank: Bank, certificate: Certificate, mode: str
    ) -> None:
        sink = ScriptedSink(free_ports(1))
        _, _, job = await bank.sign_up()
        settings = {"SMTP_USERNAME": USERNAME, "SMTP_PASSWORD": "wrong", "SMTP_CA_FILE": str(certificate.file)}
        async with secure_sink(sink, mode, certificate) as logins, watched(bank, sink, SMTP_TLS=mode, **settings):
            await assert_tried_later(bank, job)
            assert (sink.offered, sink.recipients, logins) == ([], [], [])
            # The operator is told why, and never the password.
            await bank.attempt(MAIL, job, tries=TRIES_MAX)
        error = await bank.value("SELECT last_error FROM outbox WHERE id = $1", job)
        assert error == "TryLaterError: mail server: SMTPAuthenticationError 535 5.7.8"

    async def test_server_that_asks_for_no_login_is_not_given_the_mail(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        async with watched(bank, bank.sink, SMTP_USERNAME=USERNAME, SMTP_PASSWORD=PASSWORD):
            await assert_tried_later(bank, job)
            assert bank.sink.offered == []


class TestAnswers:
    async def test_recipient_refused_for_good_is_a_dead_letter(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        bank.sink.envelope_answers = ["550 5.1.1 alice@example.org is nobody"]
        await bank.attempt(MAIL, job)
        assert await bank.state(job) == "dead"
        error = await bank.value("SELECT last_error FROM outbox WHERE id = $1", job)
        assert error == "CannotSucceedError: mail server: SMTPRecipientRefused 550 5.1.1"

    async def test_recipient_refused_for_now_is_tried_again(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        bank.sink.envelope_answers = ["450 4.2.1 mailbox busy"]
        await assert_tried_later(bank, job)
        await bank.attempt(MAIL, job, tries=2)
        assert len(bank.sink.accepted) == 1

    async def test_refused_sender_is_tried_again(self, bank: Bank, certificate: Certificate) -> None:
        # What is wrong with us, like a login we were not given yet, spoils no mail for good.
        sink = ScriptedSink(free_ports(1))
        _, _, job = await bank.sign_up()
        async with (
            secure_sink(sink, "starttls", certificate),
            watched(bank, sink, SMTP_TLS="starttls", SMTP_CA_FILE=str(certificate.file)),
        ):
            await assert_tried_later(bank, job)
            await bank.attempt(MAIL, job, tries=TRIES_MAX)
        error = await bank.value("SELECT last_error FROM outbox WHERE id = $1", job)
        assert error == "TryLaterError: mail server: SMTPSenderRefused 530 5.7.0"

    async def test_server_that_is_silent_after_taking_the_mail_is_not_given_it_again(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        bank.sink.silent_at_quit = True
        async with asyncio.timeout(5):
            await bank.attempt(MAIL, job)
        assert await bank.state(job) == "done"
        assert len(bank.sink.accepted) == 1

    async def test_server_that_hangs_up_after_taking_the_mail_is_not_given_it_again(self, bank: Bank) -> None:
        _, _, job = await bank.sign_up()
        loop = asyncio.get_running_loop()

        class HangsUp(SMTP):
            async def smtp_QUIT(self, arg: str) -> None:
                assert self.transport is not None
                self.transport.abort()

        port = free_ports(1)
        server = await loop.create_server(lambda: HangsUp(bank.sink, loop=loop), "127.0.0.1", port)
        bank.settings = read_settings({**bank.environment, "SMTP_PORT": str(port)})
        await bank.attempt(MAIL, job)
        server.close()
        assert await bank.state(job) == "done"
        assert len(bank.sink.accepted) == 1


async def is_done(bank: Bank, job: UUID) -> bool:
    return await bank.state(job) == "done"
