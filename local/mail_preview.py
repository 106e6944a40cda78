"""Writes every mail of the service with sample data, to be looked at: `python -m local.mail_preview`."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from local.errors import StackError
from local.settings import read_settings
from worker.mail_texts import LINKS, NOTICES, MailText, MailTexts

_USERNAME = "alice"
_TOKEN = "sample-" + 57 * "x"
"""As long as a real one."""
_TIME = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
_ADDRESS = "2001:db8::1"
_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def sample_mails(origin: str) -> dict[str, MailText]:
    """Each kind of mail once, by a name for its files.

    Args:
        origin: Where links lead, without a trailing slash.
    """
    texts = MailTexts(origin)
    links = {purpose: texts.link(purpose, _USERNAME, _TOKEN) for purpose in LINKS}
    notices = {type_: texts.notice(type_, _USERNAME, _TIME, _ADDRESS, _USER_AGENT) for type_ in NOTICES}
    return {name.lower(): text for name, text in (links | notices).items()}


def write_previews(folder: Path, origin: str) -> list[Path]:
    """Write each mail as NAME.txt, which begins with its subject, and NAME.html, in place of older ones.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.txt"), *folder.glob("*.html")):
        old.unlink()
    files = []
    for name, mail in sample_mails(origin).items():
        for kind, content in (("txt", f"Subject: {mail.subject}\n\n{mail.text}"), ("html", mail.html)):
            file = folder / f"{name}.{kind}"
            file.write_text(content, encoding="utf-8")
            files.append(file)
    return files


def main() -> int:
    """Run the command; the exit status."""
    try:
        settings = read_settings()
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    folder = settings.state_dir / "mail-preview"
    for file in write_previews(folder, settings.public_url.rstrip("/")):
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
