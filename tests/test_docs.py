"""The documentation is true: its commands run as they stand, its tables say what the code says.

Fenced blocks marked `sh` run in one shell a page, in their order; blocks marked `python` run as programs. A block
marked `json` right after one of them is what its last line of output holds, at least. All other languages are named
in NOT_RUN with the reason.
"""

import ast
import asyncio
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

import server.app  # noqa: F401 - with it every refusal is defined
from local.settings import ROOT, read_settings
from server.config import Settings
from server.error_status import code_of
from server.errors import BankError
from tests.conftest import Stack

NOT_RUN = {
    "text": "pictures, and the commands that start and stop the stack the other blocks run against",
    "mermaid": "a picture",
    "evans": "interactive, and not packaged for the systems the tests run on",
    "operator": "stops, restarts or reconfigures a deployment",
    "sql": "needs the owner of the database",
}
GO_PROGRAMS = Path.home() / "go" / "bin"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
HTTP_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# Not made by server/errors.py: plain_status in the interceptor, and the gateway's own answers.
REASONS_ELSEWHERE = {
    "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED",
    "INTERNAL": "INTERNAL",
    "UNAVAILABLE": "UNAVAILABLE",
    "REQUEST_TOO_LARGE": "INVALID_ARGUMENT",
}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "=== block {} ==="


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    return [Block(*match) for match in _FENCE.findall(page.read_text())]


def runnable() -> list[Path]:
    return [page for page in PAGES if any(block.language in ("sh", "python") for block in blocks_of(page))]


def holds(actual: Any, expected: Any) -> bool:
    """Whether everything expected is there; of lists, somewhere in the list."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(
            name in actual and holds(actual[name], expected[name]) for name in expected
        )
    if isinstance(expected, list):
        return isinstance(actual, list) and all(any(holds(each, wanted) for each in actual) for wanted in expected)
    return bool(actual == expected)


async def printed_by(command: list[str], typed: str) -> str:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:{GO_PROGRAMS}",
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(typed.encode())
    assert process.returncode == 0, output.decode()
    return output.decode()


def on_this_stack(text: str, stack: Stack) -> str:
    return (
        text.replace("localhost:8080", stack.http_url.removeprefix("http://"))
        .replace("localhost:9090", stack.grpc_target)
        .replace(".venv/bin/python", sys.executable)
    )


def can_run(block: Block) -> bool:
    """On a developer's machine without curl or grpcurl the rest is still run; CI brings both and runs everything."""
    search = f"{os.environ['PATH']}:{GO_PROGRAMS}"
    missing = [name for name in ("curl", "grpcurl") if shutil.which(name, path=search) is None]
    if os.environ.get("CI") == "true" or not missing or block.language == "python":
        return True
    # Later blocks use what the first ones found out with curl.
    return "curl" not in missing and "grpcurl" not in block.text


class TestBlocks:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_every_block_is_run_or_says_why_not(self, page: Path) -> None:
        known = {"sh", "python", "json", *NOT_RUN}
        assert [block.language for block in blocks_of(page) if block.language not in known] == []

    @pytest.mark.parametrize("page", runnable(), ids=lambda page: str(page.relative_to(ROOT)))
    async def test_commands_work_when_pasted_and_answer_what_is_shown(self, page: Path, stack: Stack) -> None:
        blocks = blocks_of(page)
        script = ["set -eu -o pipefail"]
        for number, block in enumerate(blocks):
            if block.language == "sh" and can_run(block):
                script += [block.text, "echo", f"echo '{_MARK.format(number)}'"]
        output = await printed_by(["bash", "-s"], on_this_stack("\n".join(script), stack))
        printed: dict[int, str] = {}
        for number, block in enumerate(blocks):
            if block.language == "sh" and can_run(block):
                printed[number], _, output = output.partition(_MARK.format(number))
            elif block.language == "python":
                printed[number] = await printed_by([sys.executable, "-"], on_this_stack(block.text, stack))
        for number, block in enumerate(blocks):
            if block.language == "json" and number - 1 in printed:
                last_line = printed[number - 1].strip().splitlines()[-1]
                assert holds(json.loads(last_line), json.loads(block.text)), last_line

    def test_readme_shows_every_way_to_call(self) -> None:
        languages = {block.language for block in blocks_of(ROOT / "README.md")}
        assert {"sh", "python", "evans"} <= languages
        assert len((ROOT / "README.md").read_text().splitlines()) <= 160


class TestLinks:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_linked_files_and_headings_exist(self, page: Path) -> None:
        missing = []
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            name, _, heading = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists() or (heading and heading not in _anchors(file)):
                missing.append(target)
        assert missing == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def documented_reasons() -> dict[str, str]:
    """Reason to code, as docs/errors.md says."""
    found = {}
    code = ""
    for line in (ROOT / "docs" / "errors.md").read_text().splitlines():
        if heading := re.fullmatch(r"## ([A-Z_]+) \((\d+)\)", line):
            code = heading[1]
            assert HTTP_CODES[code] == int(heading[2])
        elif row := re.match(r"\| `([A-Z_]+)` \|", line):
            assert row[1] not in found
            found[row[1]] = code
    return found


def implemented_reasons() -> dict[str, str]:
    found = dict(REASONS_ELSEWHERE)
    classes: list[type[BankError]] = [BankError]
    while classes:
        error = classes.pop()
        classes += error.__subclasses__()
        if "reason" in vars(error) and error.__module__.startswith("server."):
            found[error.reason] = code_of(error.__new__(error)).name
    return found


class TestErrors:
    def test_page_names_every_reason_under_its_code_and_none_extra(self) -> None:
        assert documented_reasons() == implemented_reasons()

    def test_served_page_says_what_the_document_says(self) -> None:
        """The page that Help links open has a place for each reason, with the same words."""
        served = (ROOT / "envoy" / "www" / "docs" / "errors.html").read_text()
        expected = re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
        rows = re.findall(r'<tr id="([A-Z_]+)"><th>\1</th>(.*)</tr>', served)
        assert [name for name, _ in rows] == [name for name, _ in expected]
        for (_, cells), (_, written) in zip(rows, expected, strict=True):
            texts = re.findall(r"<td>(.*?)</td>", cells)
            assert [re.sub(r"</?code>", "`", text) for text in texts] == written.split(" | ")

    async def test_help_link_of_a_refusal_leads_to_its_reason(self, stack: Stack) -> None:
        body = b'{"token": "made up"}'
        request = Request(f"{stack.http_url}/v1/users:verifyEmail", body)  # noqa: S310 - our own gateway
        with pytest.raises(HTTPError) as refused:
            await asyncio.to_thread(urlopen, request)
        (link,) = re.findall(r'"url":"([^"]+)"', refused.value.read().decode())
        address, _, reason = link.partition("#")
        page = await asyncio.to_thread(lambda: urlopen(address).read().decode())  # noqa: S310
        assert reason == "TOKEN_INVALID"
        assert f'id="{reason}"' in page


class TestSettings:
    def test_every_setting_of_server_and_worker_is_documented(self) -> None:
        page = (ROOT / "docs" / "operations.md").read_text()
        names = {str(field.validation_alias or name).upper() for name, field in Settings.model_fields.items()}
        assert {name for name in names if f"| `{name}` |" not in page} == set()

    def test_documented_defaults_are_those_of_the_launcher(self) -> None:
        defaults = read_settings({})
        page = (ROOT / "docs" / "run.md").read_text()
        for line in (
            f"| {defaults.gateway_port}, {defaults.gateway_grpc_port} |",
            f"| {defaults.server_port}, {defaults.server_processes} |",
            f"| {defaults.metrics_port} |",
            f"| {defaults.postgres_port}, {defaults.redis_port}, {defaults.smtp_port} |",
            f"| `{defaults.public_url}` |",
        ):
            assert line in page


class TestMetrics:
    async def test_every_metric_is_documented(self) -> None:
        page = (ROOT / "docs" / "operations.md").read_text()
        pattern = re.compile(r'(?:Counter|Gauge|Histogram)\(\s*"([a-z_]+)"')
        names = {
            name
            for module in ("server/metrics.py", "worker/metrics.py")
            for name in pattern.findall((ROOT / module).read_text())
        }
        assert len(names) > 5
        assert {name for name in names if f"`{name}" not in page} == set()


def defined_tests(file: Path) -> set[str]:
    """Classes and tests of a file as pytest names them behind its path."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            functions = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {f"{node.name}::{function.name}" for function in functions}
    return {name for name in found if name.rpartition("::")[2].startswith(("test_", "Test"))}


class TestSecurity:
    ROWS = re.findall(r"^\| (S\d+) \| (.*) \| (.*) \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)

    def test_every_line_has_its_row(self) -> None:
        assert [line for line, _, _ in self.ROWS] == [f"S{number}" for number in range(1, 52)]

    def test_every_line_names_its_tests_or_says_why_it_has_none(self) -> None:
        for line, _, shown_by in self.ROWS:
            assert "`tests/" in shown_by or shown_by.startswith(("Does not apply: ", "Not checked here: ")), line

    def test_named_tests_exist(self) -> None:
        named = {name for _, _, shown_by in self.ROWS for name in re.findall(r"`(tests/[^`]+)`", shown_by)}
        assert len(named) > 60
        missing = []
        for name in sorted(named):
            file, _, test = name.partition("::")
            if not (ROOT / file).exists() or test not in defined_tests(ROOT / file):
                missing.append(name)
        assert missing == []
