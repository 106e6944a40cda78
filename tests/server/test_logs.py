import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.logs import LINE_BYTES_MAX

ROOT = Path(__file__).parents[2]


def logged(statements: str, level: str = "info") -> list[bytes]:
    """Lines that a process writes which runs these statements; logging belongs to a whole process."""
    program = (
        "import logging, structlog, warnings\nfrom server import logs\n"
        f"logs.configure({level!r}, 'test')\nlog = structlog.get_logger()\n{statements}"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert ran.stderr == b""
    return ran.stdout.removesuffix(b"\n").split(b"\n") if ran.stdout else []


def parsed(statements: str, level: str = "info") -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(statements, level)]


class TestConfigure:
    def test_event_is_one_object_with_time_level_and_process(self) -> None:
        (line,) = parsed("log.info('call', code='OK', count=3)")
        assert line.pop("time").endswith("Z")
        assert line == {"event": "call", "level": "info", "process": "test", "code": "OK", "count": 3}

    @pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x00", "\x85", "\x9b", "\u2028", "\u202e", "\ud800"])
    def test_text_cannot_end_or_disguise_a_line(self, character: str) -> None:
        (line,) = logged(f"log.info('call', name='a' + {character!r} + 'b')")
        assert line.isascii()
        assert line.decode().isprintable()
        assert json.loads(line)["name"] == f"a{character}b"

    def test_values_json_does_not_know_are_written_as_text(self) -> None:
        (line,) = parsed("log.info('call', path=__import__('pathlib').Path('/x'), large=2**70)")
        assert line["path"] == "/x"

    def test_endless_text_is_cut(self) -> None:
        (line,) = logged("log.info('call', name='x' * 1_000_000, code='OK')")
        assert len(line) < LINE_BYTES_MAX
        assert json.loads(line)["code"] == "OK"
        assert json.loads(line)["name"].endswith("(cut)")

    def test_exception_is_part_of_the_line_and_keeps_its_end(self) -> None:
        statements = "try:\n    raise KeyError('x' * 9000 + 'end')\nexcept KeyError:\n    log.exception('failed')"
        (line,) = parsed(statements)
        assert line["event"] == "failed"
        assert line["exception"].endswith("end'")

    def test_libraries_are_heard_from_warning_on_in_the_same_form(self) -> None:
        lines = parsed(
            "logging.getLogger('lib').info('quiet')\n"
            "logging.getLogger('lib').warning('%s\\n', 'loud')\n"
            "warnings.warn('old', stacklevel=1)"
        )
        assert [(line["logger"], line["level"], line["process"]) for line in lines] == [
            ("lib", "warning", "test"),
            ("py.warnings", "warning", "test"),
        ]
        assert lines[0]["event"] == "loud\n"

    def test_less_severe_events_are_left_out(self) -> None:
        assert [line["event"] for line in parsed("log.info('a')\nlog.error('b')", "error")] == ["b"]
