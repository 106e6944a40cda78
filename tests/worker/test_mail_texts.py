import ast
import re
from datetime import UTC, datetime, timedelta, timezone
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audit.recording import AuditEventType
from server.tokens import MAIL_TOKEN_TTL_S, RESET_PASSWORD, VERIFY_EMAIL
from tests.worker.surroundings import ROOT
from worker.mail_texts import LINKS, NOTICES, MailText, MailTexts, describe_address, describe_program

ORIGIN = "https://bank.example"
NOON = datetime(2026, 2, 3, 12, 5, tzinfo=UTC)
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Safari/604.1"
EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0"


def words(mail: MailText) -> tuple[list[str], list[str]]:
    """What text and HTML say, layout aside; the title, the subject and what repeats the button left out."""
    html = re.sub(
        r"<title>.*?</title>|The button does not work.*?</td>|<a [^>]*>.*?</a>", " ", mail.html, flags=re.DOTALL
    )
    html = unescape(re.sub(r"<[^>]*>", " ", html.replace(f">{mail.subject}<", "><")))
    text = re.sub(r"https://bank\.example/\S+", " ", mail.text)
    return text.split(), html.split()


def notice(type_: str, address: str = "192.0.2.7", program: str = "curl/8.5.0") -> MailText:
    return MailTexts(ORIGIN).notice(type_, "alice", NOON, address, program)


class TestLink:
    @pytest.mark.parametrize(("purpose", "life"), [(VERIFY_EMAIL, "24 hours"), (RESET_PASSWORD, "one hour")])
    def test_text_and_html_say_the_same_and_how_long_the_link_lives(self, purpose: str, life: str) -> None:
        mail = MailTexts(ORIGIN).link(purpose, "alice", "token")
        text, html = words(mail)
        assert text == html
        assert f"for {life} from when it was sent" in mail.text

    def test_every_purpose_has_its_mail(self) -> None:
        assert LINKS.keys() == MAIL_TOKEN_TTL_S.keys()

    @pytest.mark.parametrize("purpose", LINKS)
    def test_page_that_it_leads_to_exists(self, purpose: str) -> None:
        assert (ROOT / "envoy" / "www" / LINKS[purpose].page).is_file()


class TestNotice:
    @pytest.mark.parametrize("type_", NOTICES)
    def test_text_and_html_say_the_same_and_hold_no_link(self, type_: str) -> None:
        mail = notice(type_)
        text, html = words(mail)
        assert text == html
        assert re.findall(r"https?://\S+", mail.text) == [ORIGIN]
        assert not re.search(r"<a\b|href|\bsrc=|url\(|<script|<link", mail.html)

    def test_types_are_those_of_the_audit(self) -> None:
        assert NOTICES.keys() <= set(AuditEventType)

    def test_every_event_that_is_told_has_a_text(self) -> None:
        told = set()
        for file in (*(ROOT / "server").rglob("*.py"), *(ROOT / "worker").rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and any(each.arg == "notify" for each in node.keywords):
                    assert isinstance(node.args[1], ast.Attribute), f"{file}:{node.lineno}"
                    told.add(node.args[1].attr)
        assert told == NOTICES.keys()

    def test_time_is_that_of_utc(self) -> None:
        there = NOON.astimezone(timezone(timedelta(hours=-9)))
        mail = MailTexts(ORIGIN).notice("SIGNED_IN", "alice", there, "192.0.2.7", "")
        assert "3 February 2026, 12:05 UTC" in mail.text

    def test_html_is_escaped(self) -> None:
        mail = MailTexts("https://<bank>").notice("SIGNED_IN", "<b>&", NOON, "<i>", "<u>")
        assert "Hello &lt;b&gt;&amp;," in mail.html
        assert "https://&lt;bank&gt;" in mail.html
        assert not re.search(r"<(b|bank|i|u)>", mail.html)


class TestDescribeAddress:
    @pytest.mark.parametrize(
        ("address", "shown"),
        [
            ("192.0.2.7", "192.0.2.7"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("", "unknown"),
            ("192.0.2.7 evil.example", "unknown"),
            ("evil.example", "unknown"),
            ("fe80::1%evil.example", "fe80::1"),
        ],
    )
    def test_only_an_address_is_shown(self, address: str, shown: str) -> None:
        assert describe_address(address) == shown


class TestDescribeProgram:
    @pytest.mark.parametrize(
        ("user_agent", "shown"),
        [
            (SAFARI, "Safari on iPhone"),
            (EDGE, "Edge on Windows"),
            ("Mozilla/5.0 (X11; CrOS x86_64) Chrome/140.0.0.0 Safari/537.36", "Chrome on CrOS"),
            ("Mozilla/5.0 Firefox/140.0", "Firefox"),
            ("grpc-python/1.80.0 grpc-c/53.0.0 (linux; chttp2)", "grpc-python/1.80.0"),
            ("grpc-node-js/1.2.3-beta", "grpc-node-js/1.2.3"),
            ("curl/8.5.0", "curl/8.5.0"),
            ("", "unknown"),
            ("Mozilla/5.0 (compatible; evil)", "Mozilla/5.0"),
            ("Call +1 800 555 0199", "Call"),
            ("evil.example/1.0", "unknown"),
            ("www.evil.example", "unknown"),
            ("https://evil.example", "unknown"),
            ("mallory@evil.example", "unknown"),
            ("<b>bold</b>", "unknown"),
            ("\r\nBcc: mallory@evil.example", "unknown"),
            ("curl/8.5.0\r\nBcc: mallory@evil.example", "curl/8.5.0"),
            ("x" * 500, "unknown"),
        ],
    )
    def test_program_is_named_without_what_else_it_says(self, user_agent: str, shown: str) -> None:
        assert describe_program(user_agent) == shown

    @settings(deadline=None)  # a busy machine is no failure
    @given(st.text() | st.from_regex(r"[A-Za-z0-9./:@ _-]{1,80}") | st.text().map("Mozilla/5.0 {} Chrome/1".format))
    def test_whatever_it_says_makes_no_link_or_line(self, user_agent: str) -> None:
        shown = describe_program(user_agent)
        assert len(shown) <= 48
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*(/[0-9.]+)?( on [A-Za-z]+)?", shown)
