from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default

import aiosmtplib

from tests.conftest import MailSink


class TestMailSink:
    async def test_each_mail_becomes_a_file(self, smtp_sink: MailSink) -> None:
        for subject in ("First", "Second €"):
            message = EmailMessage()
            message["From"], message["To"], message["Subject"] = "bank@localhost", "alice@example.com", subject
            message.set_content("Grüße")
            await aiosmtplib.send(message, hostname="127.0.0.1", port=smtp_sink.port)
        received = [BytesParser(policy=default).parsebytes(path.read_bytes()) for path in smtp_sink.messages()]
        assert [message["Subject"] for message in received] == ["First", "Second €"]
        assert [message.get_content().strip() for message in received] == ["Grüße", "Grüße"]
