from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from duplex_runtime.errors import BadInput
from tests.fakes import Reply
from tests.web_fakes import PATIENCE, Client, FakeModels, Served, app_of, eventually
from webapp.cli import main
from webapp.logs import set_up

log = logging.getLogger("webapp.example")


class Log:
    """What the server would have written to standard error."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def begin(self, style: str) -> None:
        set_up(style, self.stream)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def written() -> Iterator[Log]:
    """Afterwards everything logs as before."""
    root, hook = logging.getLogger(), threading.excepthook
    named = [logging.getLogger(name) for name in ("webapp", "duplex_runtime")]
    before = root.handlers[:], root.level, [each.level for each in named]
    yield Log()
    root.handlers[:], root.level = before[:2]
    for each, level in zip(named, before[2], strict=True):
        each.setLevel(level)
    threading.excepthook = hook
    logging.captureWarnings(False)


def failed(error: Exception) -> Exception:
    """The same, raised once."""
    try:
        raise error
    except Exception as raised:
        return raised


# — form —


def test_a_json_line_has_its_fields(written: Log) -> None:
    written.begin("json")
    log.warning("the client does not read: %d events\nwait", 7, extra={"session": "abc"})
    (told,) = written.objects
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("time"))
    assert told == {
        "level": "WARNING", "logger": "webapp.example", "message": "the client does not read: 7 events\nwait",
        "session": "abc",
    }  # fmt: skip
    assert written.text.count("\n") == 1


def test_a_line_for_people_has_them_too(written: Log) -> None:
    written.begin("text")
    log.info("begun", extra={"session": "abc"})
    log.error("no session")
    first, second = written.text.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO webapp\.example: begun \[abc\]", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d ERROR webapp\.example: no session", second)


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_message_cannot_pretend_to_be_another_line(style: str, written: Log) -> None:
    written.begin(style)
    log.error("%s is not here", "x\n12:00:00 ERROR webapp: all is lost")
    assert not [line for line in written.text.splitlines()[1:] if line[:1] != " "]


@pytest.mark.parametrize("style", ["text", "json"])
def test_others_are_told_from_warnings_on(style: str, written: Log) -> None:
    """uvicorn's lines below that hold addresses, and in these are tokens."""
    written.begin(style)
    logging.getLogger("uvicorn.error").info('"WebSocket /study/x/realtime?token=secret" [accepted]')
    logging.getLogger("uvicorn.error").warning("a warning")
    assert "secret" not in written.text
    assert "a warning" in written.text


def test_an_exception_says_where_it_was_raised(written: Log) -> None:
    written.begin("json")
    log.error("broken", exc_info=failed(RuntimeError("out of memory")))
    lines = written.objects[0]["exception"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert re.fullmatch(rf'  File "{re.escape(__file__)}", line \d+, in failed', lines[1])
    assert lines[2] == "RuntimeError: out of memory"


def test_causes_are_told_once_each(written: Log) -> None:
    written.begin("text")
    cause, error = failed(OSError(28, "No space left on device")), BadInput("hush")
    error.__cause__ = cause
    cause.__context__ = error  # a ring
    log.error("broken", exc_info=failed(error))
    assert [line for line in written.text.splitlines()[1:] if line[0] != " "] == [
        "Traceback (most recent call last):", "OSError: [Errno 28] No space left on device",
        "which led to:", "Traceback (most recent call last):", "BadInput bad_input",
    ]  # fmt: skip


# — what must not be in it —


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize(
    "error",
    [ValueError("zyzzyva"), KeyError("zyzzyva"), BadInput("got 'zyzzyva'"), UnicodeError("zyzzyva"),
     ExceptionGroup("zyzzyva", [ValueError("zyzzyva"), KeyError("zyzzyva")])],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_exception_may_quote_people_and_is_told_by_its_kind(style: str, error: Exception, written: Log) -> None:
    written.begin(style)
    log.error("one failed: %r, %s", error, error, exc_info=failed(error))
    assert "zyzzyva" not in written.text
    assert type(error).__name__ in written.text


def test_a_task_whose_exception_nobody_fetched_is_told_without_its_words(written: Log) -> None:
    written.begin("json")

    async def fail() -> None:
        raise ValueError("zyzzyva")

    async def forget() -> None:
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        del task

    asyncio.run(forget())
    (told,) = written.objects
    assert told["message"] == "Task exception was never retrieved"
    assert told["exception"].endswith("\nValueError")
    assert "zyzzyva" not in written.text


def test_a_thread_that_dies_is_told_without_its_words(written: Log) -> None:
    written.begin("json")

    def fail() -> None:
        raise ValueError("zyzzyva")

    thread = threading.Thread(target=fail, name="duplex")
    thread.start()
    thread.join()
    (told,) = written.objects
    assert (told["level"], told["message"]) == ("CRITICAL", "the thread duplex has ended")
    assert "zyzzyva" not in written.text


def test_warnings_go_the_same_way(written: Log) -> None:
    written.begin("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    assert "old" in written.objects[0]["message"]


@pytest.mark.parametrize("style", ["text", "json"])
def test_what_uvicorn_tells_goes_the_same_way(style: str, written: Log) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise ValueError("zyzzyva")

    written.begin(style)
    with Served(app) as served:
        assert httpx.get(f"{served.url}/zyzzyva", trust_env=False, timeout=PATIENCE).status_code == 500
    assert "ValueError" in written.text and "uvicorn.error" in written.text
    assert "zyzzyva" not in written.text


def test_serve_logs_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webapp.serve.set_up", asked.append)
    assert main(["serve", "--port", "-1", "--log", "json"]) == 2
    monkeypatch.setenv("DUPLEX_LOG", "json")
    assert main(["serve", "--port", "-1"]) == 2
    assert asked == ["json", "json"]
    monkeypatch.setenv("DUPLEX_LOG", "xml")
    assert main(["serve", "--port", "-1"]) == 2
    assert len(asked) == 2


class Breaks:
    """A reply that fails for one question, and quotes it."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def __call__(self, stream: list[int]) -> Any:
        answer = self.reply(stream)
        if len(answer) > 50:  # that to "count"
            raise ValueError("count zyzzyva")
        return answer


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_whole_talk_and_all_that_goes_wrong_in_it_leave_none_of_its_words(
    style: str, written: Log, tmp_path: Path
) -> None:
    """Words that are typed, words that are answered, broken events, ratings with comments, a model that fails."""
    written.begin(style)
    with Served(app_of(tmp_path, FakeModels(Breaks))) as served:
        with Client(served.ws) as client:
            session = client.begin()["id"]
            client.type("hello.")
            client.until("response.done", system="duplex")
            for bad in ("{zyzzyva", '{"type": "zyzzyva"}', '{"type": "duplex.input.edit", "insert": ["zyzzyva"]}'):
                client.send(bad)
                client.until("error")
            body = json.dumps({"system": "zyzzyva", "comment": "zyzzyva"})
            httpx.post(f"{served.url}/v1/sessions/{session}/ratings", content=body, trust_env=False, timeout=PATIENCE)
            client.type(" count.")
            client.until("error")
        eventually(lambda: served.sessions() == 0, "the talk is over")
        httpx.get(f"{served.url}/zyzzyva?zyzzyva", trust_env=False, timeout=PATIENCE)
    assert "ValueError" in written.text, "the failure is in the log"
    for word in ("zyzzyva", "hello", "count", "hi you"):
        assert word not in written.text, word
    if style == "json":
        assert all({"time", "level", "logger", "message"} <= set(each) for each in written.objects)
