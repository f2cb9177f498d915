"""Logs: one JSON object a line on stderr, with the trace id of the request, without secrets or users' content.

Or the same as text, for people who watch.

Our own events carry named fields. Of other libraries' records only warnings and worse are written, and of those only
the unfilled template's first line: asyncio puts the repr of exceptions into its messages, aiohttp's access log whole
query strings. Of exceptions the type, the frames and, for errors of our own making, the message are written.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import PurePath
from traceback import walk_tb
from typing import TextIO

from proxy_plugin.ground.errors import GatewayError
from proxy_plugin.ground.masking import Masker
from proxy_plugin.providers.base import ProviderError

TRACE_ID: ContextVar[str | None] = ContextVar("trace_id", default=None)
_TEXT_MAX = 1000
_FRAMES = 12
_FIELDS = "proxy_plugin_fields"
LEVELS = ("debug", "info", "warning", "error")
JSON, TEXT = STYLES = ("json", "text")
_BARE = re.compile(r"[^\s\"'=\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # a value that needs no quotes
_NAMES = frozenset({"caller", "provider", "slug", "virtual_key", "workspace"})  # from the configuration, no secrets


def event(
    logger: logging.Logger,
    name: str,
    *,
    level: int = logging.INFO,
    error: BaseException | None = None,
    **fields: object,
) -> None:
    """Log one event. Fields are numbers, booleans, texts, paths, and lists and mappings of them."""
    if logger.isEnabledFor(level):
        if error is not None:
            fields |= _error_fields(error)
        # As `logger.log` does it, but for the search of the frame that called, which no line of ours shows.
        logger.handle(logger.makeRecord(logger.name, level, "", 0, name, (), None, extra={_FIELDS: fields}))


def moment(seconds: float) -> str:
    """Return Unix seconds as the log writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def setup(level: str, masker: Masker, stream: TextIO | None = None, style: str = JSON) -> logging.Handler:
    """Send the log to `stream` (default: stderr) from now on and return the handler; a second call replaces it."""
    root = logging.getLogger()
    for earlier in _ours():
        root.removeHandler(earlier)
    handler = JsonLines(stream or sys.stderr)
    handler.setFormatter((TextFormatter if style == TEXT else Formatter)(masker))
    root.addHandler(handler)
    root.setLevel(level.upper())
    return handler


def learn(masker: Masker) -> None:
    """Hide other secrets from now on; level, style and stream stay."""
    for handler in _ours():
        if isinstance(handler.formatter, Formatter):
            handler.setFormatter(type(handler.formatter)(masker))


def _ours() -> list[logging.Handler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, JsonLines)]


class JsonLines(logging.StreamHandler[TextIO]):
    """Writes our events at any level and other libraries' records from WARNING on."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record if it is one of the two kinds."""
        if hasattr(record, _FIELDS) or record.levelno >= logging.WARNING:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Stay silent: the default prints the raw record, unmasked, when stderr is gone or full."""


class Formatter(logging.Formatter):
    """One record as one line of JSON."""

    def __init__(self, masker: Masker) -> None:
        super().__init__()
        self._masker = masker

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        return json.dumps(self._line(record))

    def _line(self, record: logging.LogRecord) -> dict[str, object]:
        fields = getattr(record, _FIELDS, None)
        head = {
            "at": moment(record.created),
            "level": record.levelname.lower(),
            "event": "log" if fields is None else record.msg,
            "trace_id": TRACE_ID.get(),
            "logger": record.name,
        }
        more = _foreign_fields(record) if fields is None else fields
        line = head | {name: value for name, value in more.items() if name not in head}
        return {name: self._field(name, value) for name, value in line.items()}

    def _field(self, name: str, value: object) -> object:
        """Leave names as they are: a dummy key that is a common word would hide the tenant of the same name."""
        return value[:_TEXT_MAX] if name in _NAMES and isinstance(value, str) else self._plain(value)

    def _plain(self, value: object) -> object:
        """Return what JSON can hold, masked and bounded; of an unknown object no more than its type."""
        if isinstance(value, bool | int | None):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, str | PurePath):
            return self._masker.mask(str(value))[:_TEXT_MAX]
        if isinstance(value, Mapping):
            return {self._masker.mask(str(name)): self._plain(item) for name, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(item) for item in value]
        return f"<{type(value).__name__}>"


class TextFormatter(Formatter):
    """One record as one line for people: local time, level, event, and its fields as NAME=VALUE."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        line = self._line(record)
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        head = f"{at} {line.pop('level'):<7} {line.pop('event')}"
        shown = {name: value for name, value in line.items() if name not in ("at", "logger") and value is not None}
        return "  ".join([head, " ".join(f"{name}={_bare(value)}" for name, value in shown.items())]).rstrip()


def _bare(value: object) -> str:
    return value if isinstance(value, str) and _BARE.fullmatch(value) else json.dumps(value)


def _foreign_fields(record: logging.LogRecord) -> dict[str, object]:
    template = str(record.msg).partition("\n")[0]
    error = record.exc_info[1] if record.exc_info else None
    return {"message": template} | ({} if error is None else _error_fields(error))


def _error_fields(error: BaseException) -> dict[str, object]:
    """Return the type, and either our own message or the frames: other messages may quote what users sent."""
    if isinstance(error, GatewayError | ProviderError):
        return {"error_type": type(error).__name__, "error": str(error)} | _causes(error)
    leaf: BaseException = error
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    fields: dict[str, object] = {"error_type": type(leaf).__name__, "frames": list(_frames(leaf))[-_FRAMES:]}
    return fields | _causes(leaf)


def _causes(error: BaseException) -> dict[str, object]:
    names: list[str] = []
    cause = error.__cause__
    while cause is not None and len(names) < _FRAMES:
        names.append(type(cause).__name__)
        cause = cause.__cause__
    return {"caused_by": names} if names else {}


def _frames(error: BaseException) -> Iterator[str]:
    for frame, line in walk_tb(error.__traceback__):
        yield f"{frame.f_globals.get('__name__', '?')}:{line} {frame.f_code.co_name}"
