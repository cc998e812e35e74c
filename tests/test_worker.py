import threading
from collections.abc import Iterator
from typing import Any

import pytest

from duplex_runtime.clock import RealClock
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import Delta, Event, UserText
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.loop import Loop
from tests.fakes import FakeEngine, Words, answering
from tests.web_fakes import PATIENCE, eventually
from webapp.worker import Worker


class Failing(FakeEngine):
    """Its first forward pass fails."""

    failures = 1

    def step(self) -> Any:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the device is out of memory")
        return super().step()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("duplex", Loop(FakeEngine()))
    yield worker
    worker.stop()


def test_a_note_runs_on_the_thread_of_the_worker(worker: Worker) -> None:
    names = {worker.call(lambda: threading.current_thread().name).result(PATIENCE) for _ in range(3)}
    assert names == {"duplex"}


def test_notes_run_in_the_order_in_which_they_were_left(worker: Worker) -> None:
    done: list[int] = []
    futures = [worker.call(done.append, i) for i in range(100)]
    futures[-1].result(PATIENCE)
    assert done == list(range(100))


def test_an_error_goes_to_whoever_asked_and_the_worker_goes_on(worker: Worker) -> None:
    def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        worker.call(fail).result(PATIENCE)
    assert worker.call(lambda: 5).result(PATIENCE) == 5


def test_an_asker_who_has_left_does_not_end_the_worker(worker: Worker) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(PATIENCE)

    worker.call(wait)
    assert begun.wait(PATIENCE)
    left = worker.call(lambda: 4)
    left.cancel()
    go_on.set()
    assert worker.call(lambda: 5).result(PATIENCE) == 5


def test_the_loop_runs_by_itself(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """No note wakes the worker when a slice is due."""
    vocabulary = Words()
    worker.loop.engine.reply = answering({"hello": "hi you"}, vocabulary)  # type: ignore[attr-defined]
    conversation, clock = DuplexConversation(EMBEDDED, vocabulary), RealClock()
    heard: list[Event] = []
    monkeypatch.setattr(worker.loop, "_tell", lambda session: heard.extend(session.conversation.take_events()))
    session = worker.call(worker.loop.add, conversation, clock, Sampling()).result(PATIENCE)
    worker.call(worker.loop.hear, session, UserText("hello. "), clock.now()).result(PATIENCE)
    eventually(lambda: Delta in map(type, heard), "the answer")


def test_a_forward_pass_that_fails_is_told_and_does_not_end_the_worker() -> None:
    vocabulary, told = Words(), []
    worker = Worker("duplex", Loop(Failing(answering({"hello": "hi"}, vocabulary))))
    try:
        conversation, clock = DuplexConversation(EMBEDDED, vocabulary), RealClock()
        arguments = (conversation, clock, Sampling(), [], told.append)
        session = worker.call(worker.loop.add, *arguments).result(PATIENCE)
        worker.call(worker.loop.hear, session, UserText("hello. "), clock.now()).result(PATIENCE)
        eventually(lambda: not worker.loop.engine.failures, "the failure")  # type: ignore[attr-defined]
        assert worker.call(lambda: 5).result(5) == 5
        assert [type(error) for error in told] == [DuplexError]
    finally:
        worker.stop()


def test_stop_waits_for_the_thread() -> None:
    worker = Worker("duplex", Loop(FakeEngine()))
    assert worker.alive
    worker.stop()
    assert not worker.alive
    assert not [t for t in threading.enumerate() if t.name == "duplex"]


def test_stopping_twice_is_no_error() -> None:
    worker = Worker("duplex", Loop(FakeEngine()))
    worker.stop()
    worker.stop()
