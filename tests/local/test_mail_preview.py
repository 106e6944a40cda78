import asyncio
import os
import sys
from pathlib import Path

from local.mail_preview import sample_mails
from local.settings import ROOT
from worker.mail_texts import LINKS, NOTICES


async def preview(state_dir: Path, **environment: str) -> tuple[int, str]:
    """Exit status and output of what `make mail-preview` runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "local.mail_preview"),
        cwd=ROOT,
        env={**os.environ, "BANK_STATE_DIR": str(state_dir), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


class TestMailPreview:
    async def test_every_mail_is_written_as_text_and_html(self, tmp_path: Path) -> None:
        folder = tmp_path / "mail-preview"
        folder.mkdir()
        (folder / "mail_of_old.html").write_text("no longer sent")
        status, output = await preview(tmp_path, PUBLIC_URL="https://bank.example/")
        assert status == 0
        names = {name.lower() for name in (*LINKS, *NOTICES)}
        files = {folder / f"{name}.{kind}" for name in names for kind in ("txt", "html")}
        assert set(folder.iterdir()) == files
        assert set(map(Path, output.split())) == files
        for name, mail in sample_mails("https://bank.example").items():
            assert (folder / f"{name}.txt").read_text() == f"Subject: {mail.subject}\n\n{mail.text}"
            assert (folder / f"{name}.html").read_text() == mail.html
            assert "alice" in mail.html

    async def test_bad_setting_is_named(self, tmp_path: Path) -> None:
        status, output = await preview(tmp_path, GATEWAY_PORT="many")
        assert (status, output) == (1, "GATEWAY_PORT must be a number from 1 to 65535, not 'many'\n")

    async def test_make_target_runs_it(self) -> None:
        process = await asyncio.create_subprocess_exec(
            "make", "--no-print-directory", "--dry-run", "mail-preview", cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert output.decode().splitlines()[-1].endswith("-m local.mail_preview")
