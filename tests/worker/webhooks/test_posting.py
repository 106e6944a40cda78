"""One request: where it may go, how long it may take, how much of the answer is read."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from local.ports import free_ports
from server.webhooks.targets import Resolve, Resolver, Targets
from tests.worker.webhooks.receiver import Message, Receiver, answering
from worker.webhooks.posting import BODY_BYTES_MAX, HEAD_BYTES_MAX, Failure, Outcome, Poster

HEADERS = {"webhook-id": "1"}


def poster(*, private: bool = True, timeout_s: float = 5, resolve: Resolve | None = None) -> Poster:
    return Poster(Targets(resolve or Resolver(), private=private), ssl.create_default_context(), timeout_s)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    started = Receiver()
    await started.start()
    yield started
    await started.kill()


class Names:
    """A name server that answers as it is told, one list of addresses a question; the last one again and again."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class TestPost:
    async def test_body_and_headers_arrive_as_they_are(self, receiver: Receiver) -> None:
        assert await poster().post(receiver.url, HEADERS, b'{"a": "\xc3\xbc"}') == Outcome(200, None)
        (message,) = receiver.received
        assert message.head == "POST /hooks?shop=1 HTTP/1.1"
        assert message.body == b'{"a": "\xc3\xbc"}'
        assert message.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert message.headers["webhook-id"] == "1"
        assert message.headers.keys() == {"host", "content-length", "connection", "webhook-id"}

    @pytest.mark.parametrize(
        ("status", "failure"),
        [
            *((status, None) for status in (200, 202, 204, 299)),
            *((s, Failure.STATUS) for s in (400, 404, 410, 500, 503)),
        ],
    )
    async def test_status_decides(self, receiver: Receiver, status: int, failure: Failure | None) -> None:
        receiver.reply = answering(status)
        assert await poster().post(receiver.url, HEADERS, b"{}") == Outcome(status, failure)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirect_is_a_failure_and_not_followed(self, receiver: Receiver, status: int) -> None:
        inside = Receiver()
        await inside.start()
        receiver.reply = answering(status, f"location: {inside.url}")
        assert await poster().post(receiver.url, HEADERS, b"{}") == Outcome(status, Failure.STATUS)
        assert inside.received == []
        assert len(receiver.received) == 1
        await inside.kill()

    async def test_proxy_of_the_environment_is_not_used(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)}")
        assert await poster().post(receiver.url, HEADERS, b"{}") == Outcome(200, None)

    async def test_cookie_is_not_kept(self, receiver: Receiver) -> None:
        receiver.reply = answering(200, "set-cookie: a=b")
        sender = poster()
        for _ in range(2):
            await sender.post(receiver.url, HEADERS, b"{}")
        assert "cookie" not in receiver.received[1].headers

    async def test_interim_answers_are_passed_over(self, receiver: Receiver) -> None:
        async def reply(_: Message, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        receiver.reply = reply
        assert await poster().post(receiver.url, HEADERS, b"{}") == Outcome(200, None)

    async def test_nobody_listening_is_a_failed_connection(self) -> None:
        outcome = await poster().post(f"http://127.0.0.1:{free_ports(1)}/", HEADERS, b"{}")
        assert outcome == Outcome(None, Failure.CONNECTION)

    async def test_connection_that_breaks_is_a_failed_connection(self, receiver: Receiver) -> None:
        async def reply(_: Message, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        receiver.reply = reply
        assert await poster().post(receiver.url, HEADERS, b"{}") == Outcome(None, Failure.CONNECTION)

    @pytest.mark.parametrize(
        "answer", [b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 99 X\r\n\r\n"]
    )
    async def test_answer_that_is_not_http_is_told_as_such(self, receiver: Receiver, answer: bytes) -> None:
        async def reply(_: Message, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)

        receiver.reply = reply
        assert await poster().post(receiver.url, HEADERS, b"{}") == Outcome(None, Failure.RESPONSE)

    @pytest.mark.parametrize("piece", [b"", b"H", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["silent", "drip", "interim"])
    async def test_answer_that_never_comes_to_an_end_is_not_waited_for(self, receiver: Receiver, piece: bytes) -> None:
        async def reply(_: Message, writer: asyncio.StreamWriter) -> None:
            head = b"HTTP/1.1 200 OK\r\nx: " if piece == b"H" else b""
            writer.write(head)
            while not writer.transport.is_closing():
                writer.write(piece)
                await asyncio.sleep(0.02)

        receiver.reply = reply
        began = monotonic()
        assert await poster(timeout_s=0.5).post(receiver.url, HEADERS, b"{}") == Outcome(None, Failure.TIMEOUT)
        assert 0.4 < monotonic() - began < 2.5

    async def test_head_without_end_is_not_read(self, receiver: Receiver) -> None:
        async def reply(_: Message, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * (4 * HEAD_BYTES_MAX))

        receiver.reply = reply
        assert await poster().post(receiver.url, HEADERS, b"{}") == Outcome(None, Failure.RESPONSE)

    async def test_huge_body_is_read_no_further_than_the_limit(self, receiver: Receiver) -> None:
        sent = 0

        async def reply(_: Message, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
            while not writer.transport.is_closing():
                writer.write(bytes(8192))
                sent += 8192
                await writer.drain()

        receiver.reply = reply
        began = monotonic()
        assert await poster().post(receiver.url, HEADERS, b"{}") == Outcome(200, None)
        assert monotonic() - began < 4
        # What the kernel has taken over on the way is lost.
        assert sent < BODY_BYTES_MAX + 32 * 1024 * 1024

    async def test_dripping_body_changes_nothing_and_is_left(self, receiver: Receiver) -> None:
        async def reply(_: Message, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while not writer.transport.is_closing():
                writer.write(b"x")
                await asyncio.sleep(0.02)

        receiver.reply = reply
        began = monotonic()
        assert await poster(timeout_s=0.5).post(receiver.url, HEADERS, b"{}") == Outcome(200, None)
        assert monotonic() - began < 3


class TestWhere:
    """Outside a developer's machine."""

    @pytest.mark.parametrize(
        "address",
        ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::1"],
    )
    async def test_name_that_leads_inside_is_not_connected_to(self, receiver: Receiver, address: str) -> None:
        names = Names([address])
        sender = poster(private=False, resolve=names)
        outcome = await sender.post(f"https://shop.example:{receiver.port}/", HEADERS, b"{}")
        assert outcome == Outcome(None, Failure.HOST)
        assert names.asked == ["shop.example"]
        assert receiver.at_once_most == 0

    async def test_url_that_is_not_fit_any_more_is_not_asked_for(self, receiver: Receiver) -> None:
        names = Names(["8.8.8.8"])
        for url in (receiver.url, "https://shop.example:22/", "https://user@shop.example/"):
            sender = poster(private=False, resolve=names)
            assert await sender.post(url, HEADERS, b"{}") == Outcome(None, Failure.HOST)
        assert names.asked == []

    async def test_name_is_looked_up_once_a_request_and_the_checked_address_connected_to(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rebinding: a name that leads elsewhere for whoever asks a second time. The system knows no such name."""
        loop = asyncio.get_running_loop()
        look_up, asked = loop.getaddrinfo, []

        async def observed(host: object, *arguments: object, **named: object) -> object:
            asked.append(host)
            return await look_up(host, *arguments, **named)  # type: ignore[arg-type]  # handed on as they are

        monkeypatch.setattr(loop, "getaddrinfo", observed)
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        url = f"http://shop.example:{receiver.port}/"
        assert await poster(resolve=names).post(url, HEADERS, b"{}") == Outcome(200, None)
        assert (names.asked, names.answers) == (["shop.example"], [["127.0.0.2"]])
        assert "shop.example" not in asked

    async def test_name_that_was_public_before_is_checked_again(self, receiver: Receiver) -> None:
        names = Names(["8.8.8.8"], ["127.0.0.1"])
        targets = Targets(names, private=False)
        url = f"https://shop.example:{receiver.port}/"
        assert await targets.can_be_reached(url, uuid4())
        sender = Poster(targets, ssl.create_default_context(), 5)
        assert await sender.post(url, HEADERS, b"{}") == Outcome(None, Failure.HOST)
        assert receiver.at_once_most == 0

    async def test_name_server_that_does_not_answer_counts_as_waiting(self) -> None:
        async def resolve(host: str, port: int) -> list[str]:
            await asyncio.sleep(60)
            return []

        sender = poster(timeout_s=0.2, resolve=resolve)
        assert await sender.post("http://shop.example/", HEADERS, b"{}") == Outcome(None, Failure.TIMEOUT)


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a receiver of this name proves itself with, and who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address("192.0.2.1"))]), critical=False
        )
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "receiver.pem").write_bytes(made.public_bytes(Encoding.PEM) + private)
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(folder / "receiver.pem")
    return shown, ssl.create_default_context(cadata=made.public_bytes(Encoding.PEM).decode())


class TestTls:
    @pytest.mark.parametrize(
        ("host", "outcome"),
        [("shop.example", Outcome(200, None)), ("other.example", Outcome(None, Failure.TLS))],
    )
    async def test_receiver_must_prove_the_name_of_the_url(self, tmp_path: Path, host: str, outcome: Outcome) -> None:
        shown, trusting = certificate(tmp_path, "shop.example")
        receiver = Receiver(shown)
        await receiver.start()
        sender = Poster(Targets(Names(["127.0.0.1"]), private=True), trusting, 5)
        assert await sender.post(f"https://{host}:{receiver.port}/", HEADERS, b"{}") == outcome
        assert len(receiver.received) == (outcome.failure is None)
        await receiver.kill()

    async def test_certificate_of_nobody_who_is_trusted_is_refused(self, tmp_path: Path) -> None:
        shown, _ = certificate(tmp_path, "shop.example")
        receiver = Receiver(shown)
        await receiver.start()
        sender = poster(resolve=Names(["127.0.0.1"]))
        outcome = await sender.post(f"https://shop.example:{receiver.port}/", HEADERS, b"{}")
        assert outcome == Outcome(None, Failure.TLS)
        assert receiver.received == []
        await receiver.kill()

    async def test_second_address_is_tried_where_the_first_does_not_answer(self, receiver: Receiver) -> None:
        sender = poster(resolve=Names(["127.0.0.2", "127.0.0.1"]))
        assert await sender.post(f"http://shop.example:{receiver.port}/", HEADERS, b"{}") == Outcome(200, None)
