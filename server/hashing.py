"""A process beside this one that hashes passwords; started when it is needed, and anew when it has died."""

import asyncio
import json
import sys

import structlog

from server.errors import PasswordsUnavailable

_TIMEOUT_S = 20.0
"""Longer than any call that waits for it: a process that has not answered by then never will."""
_log = structlog.get_logger()


class HashingProcess:
    """Answers the questions of server/hashing_program.py, one at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, question: list[str]) -> str | bool:
        """The answer; a process that died is replaced and asked again, once.

        Raises:
            PasswordsUnavailable: No process answered.
        """
        line = json.dumps(question).encode() + b"\n"
        answer = await self._exchange(line) or await self._exchange(line)
        if not answer:
            raise PasswordsUnavailable
        found: str | bool | None = json.loads(answer)
        if found is None:
            raise ValueError("the stored password hash is none of argon2id")
        return found

    async def start(self) -> asyncio.subprocess.Process:
        """Have it running, so that no question waits for that.

        Raises:
            OSError: The machine has no room for it.
        """
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "server.hashing_program"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                # What a terminal sends is for the server; and Linux may share the cores out by session.
                start_new_session=True,
            )
        return self._process

    async def close(self) -> None:
        """End it, whatever it is doing."""
        process = self._process
        self._kill()
        if process is not None:
            await process.wait()

    async def _exchange(self, line: bytes) -> bytes:
        """One line for another; an empty one if the process ended or was silent for too long."""
        answer = b""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                process = await self.start()
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(line)
                answer = await process.stdout.readline()
        except (OSError, TimeoutError) as error:
            _log.warning("no password could be hashed", cause=type(error).__name__)
        finally:
            if not answer:
                self._kill()
        return answer

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
