"""Links as people find them in their mail."""

import asyncio
import email
import email.policy
import re
from pathlib import Path

MAIL_TIMEOUT_S = 20
VERIFY_PAGE, RESET_PAGE = "verify-email.html", "reset-password.html"


async def token_mailed_to(mail_dir: Path, address: str, page: str, but: str = "") -> str:
    """The token in the newest link to a page that was mailed to an address, once there is another one than `but`."""
    link = re.compile(rf"/{re.escape(page)}#token=([\w-]+)")
    async with asyncio.timeout(MAIL_TIMEOUT_S):
        while True:
            for file in sorted(mail_dir.glob("[0-9]*.eml"), reverse=True):
                mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
                text = mail.get_body(("plain",)) if mail["To"] == address else None
                found = link.search(text.get_content()) if text else None
                if found and found[1] != but:
                    return found[1]
            await asyncio.sleep(0.05)
