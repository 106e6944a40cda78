"""Logs: one JSON object a line on standard output, for our own events and for what libraries say.

    log = structlog.get_logger()
    log.info("call", method="CreateTransfer", code="OK")

Nothing here can tell a secret from other text: whoever logs passes ids, names and numbers.
"""

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

LINE_BYTES_MAX = 8192
_TEXT_LENGTH_MAX = 1024
_CUT = "… (cut)"

Level = Literal["debug", "info", "warning", "error"]


def configure(level: Level, process_name: str) -> None:
    """Set up logging for this process; to be called once, before anything is logged.

    Args:
        level: Least severe level that is written; libraries are never heard below warning.
        process_name: Written as `process` in every line.
    """

    def name_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = process_name
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        name_process,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render_text],
        )
    )
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]), handlers=[handler])
    logging.captureWarnings(True)


def _render(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    line = _as_json(event)
    return line if len(line) <= LINE_BYTES_MAX else _as_json(_cut(event))


def _as_json(event: Mapping[str, Any]) -> bytes:
    try:
        line = orjson.dumps(event, default=str)
        # Readers disagree on which characters beyond ASCII end a line, so none of them is written.
        if line.isascii():
            return line
    except TypeError:
        pass  # half of a surrogate pair, or an integer beyond 64 bits
    return json.dumps(event, default=str).encode()


def _render_text(logger: WrappedLogger, name: str, event: EventDict) -> str:
    return _render(logger, name, event).decode()


def _cut(event: Mapping[str, Any]) -> dict[str, str]:
    """The first keys with the beginnings of their values; the end of a traceback, which says most."""
    texts = {str(key)[:64]: str(value) for key, value in list(event.items())[:16]}
    traceback = texts.pop("exception", None)
    cut = {key: text if len(text) <= 256 else text[:256] + _CUT for key, text in texts.items()}
    if traceback is not None:
        cut["exception"] = _CUT + traceback[-_TEXT_LENGTH_MAX:]
    return cut
