"""The server's log on standard error: text for people, or one JSON object a line.

set_up("json")
log = logging.getLogger(__name__)
log.warning("the client does not read", extra={"session": self.id})
    {"time": "2026-11-25T14:03:07.120Z", "level": "WARNING", "logger": "webapp.sockets",
     "message": "the client does not read", "session": "x3kq…"}

What people type, say or write is never logged. The one way in which it could get here is an exception that quotes it:
of exceptions the log has the kind and where they were raised, and their words only where these come from the system or
from a library that computes (`OUTSPOKEN`). Our own messages must not quote people; a test reads the log of whole talks.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

STYLES = ("text", "json")
#: Kinds of exceptions whose words are the system's or torch's, and do not quote what they were given.
OUTSPOKEN = (OSError, MemoryError, RuntimeError, ImportError)
#: Ours are told from `INFO` on, everybody else's from `WARNING`: uvicorn's lines below that name addresses with tokens.
OURS = ("duplex_runtime", "webapp")


def set_up(style: str, stream: TextIO | None = None) -> None:
    """Send all logs, uncaught exceptions of threads and warnings to `stream` (standard error), in one of `STYLES`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else Lines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
    threading.excepthook = _thread_ended


class Lines(logging.Formatter):
    """For people: time, level, logger, message, session; an exception in further lines."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        session = getattr(record, "session", None)
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        message = message_of(record).replace("\n", "\n    ")  # nothing that is logged can look like another line
        line = f"{clock} {record.levelname} {record.name}: {message}"
        return "\n".join([f"{line} [{session}]" if session else line, *exception_of(record)])


class JsonLines(logging.Formatter):
    """For programs: one JSON object, in one line. Times are UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as JSON."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
            "logger": record.name,
            "message": message_of(record),
        }
        if session := getattr(record, "session", None):
            told["session"] = session
        if exception := exception_of(record):
            told["exception"] = "\n".join(exception)
        return json.dumps(told, ensure_ascii=False)


def message_of(record: logging.LogRecord) -> str:
    """The message, in which exceptions stand with their kind instead of their words."""
    arguments = record.args
    if isinstance(arguments, tuple):
        arguments = tuple(_named(each) if isinstance(each, BaseException) else each for each in arguments)
    message = str(record.msg) % arguments if arguments else str(record.msg)
    if record.name == "asyncio":  # its further lines show a task, and in it the exception with its words
        message = message.partition("\n")[0]
    return message


def exception_of(record: logging.LogRecord) -> list[str]:
    """The exception of a record, its causes first, as lines without source text; [] if it has none."""
    error = record.exc_info[1] if record.exc_info else None
    return list(_lines(error, set())) if error else []


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield "which led to:"
    yield "Traceback (most recent call last):"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
    yield _named(error)
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            if id(each) not in seen:
                yield "one of them:"
                yield from _lines(each, seen)


def _named(error: BaseException) -> str:
    """Its kind, and what else may be told."""
    kind = type(error).__name__
    if isinstance(error, OUTSPOKEN):
        return f"{kind}: {error}"
    if code := getattr(error, "code", None):  # a DuplexError's
        return f"{kind} {code}"
    return kind


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    name = args.thread.name if args.thread else "?"
    error = (type(args.exc_value), args.exc_value, args.exc_traceback)
    logging.getLogger(__name__).critical("the thread %s has ended", name, exc_info=error)
