"""A mail server that delivers nowhere: every message becomes a file. `python -m local.mail_sink PORT FOLDER`."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from local.settings import LOOPBACK


class MailFolder:
    """Keeps each received message as one .eml file, named so that the newest sorts last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        # Its name without the dot appears only once the message is whole.
        name = f"{time.time_ns()}.eml"
        unfinished = self._folder / f".{name}"
        unfinished.write_bytes(envelope.original_content or b"")
        os.replace(unfinished, self._folder / name)
        return "250 kept"


@asynccontextmanager
async def mail_sink(port: int, folder: Path) -> AsyncIterator[None]:
    """Take mail on this port of the loopback address."""
    loop = asyncio.get_running_loop()
    handler = MailFolder(folder)
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="localhost", enable_SMTPUTF8=True, ident="mail sink", loop=loop), LOOPBACK, port
    )
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def _serve(port: int, folder: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with mail_sink(port, folder):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
