"""The published page's half of its protocol, as app/components/chat.tsx has it, against a real server of ours."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.web_fakes import PATIENCE, Place, eventually
from webapp.reference import ANSWER_SECONDS, PATHS, SLICE_SECONDS, Reference, mount

COUNT = " ".join(f"n{i}" for i in range(60))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("reference"))
    mount(place.served.app, place.served.arena, lambda socket: socket.headers.get("origin") != "http://evil.example")
    yield place
    place.close()


class Page:
    """What the page does with its socket: `said` is the conversation on its screen, as (who, text)."""

    def __init__(self, place: Place, ordinary: bool = False, path: str = "/") -> None:
        self.ordinary = ordinary
        self.said: list[tuple[str, str]] = []
        self.recognised = ""  # by the browser, and not answered yet
        self._posted = 0  # characters of it that were sent
        self.loading = self.reloaded = False
        self._open = ExitStack()
        address = f"ws://127.0.0.1:{place.served.port}{path}"
        self.socket = self._open.enter_context(connect(address, proxy=None, open_timeout=PATIENCE))
        self.socket.send("<!new_ordinary_session!>" if ordinary else "<!new_session!>")

    def hear(self, text: str) -> None:
        """The browser is sure of some more words."""
        self.recognised += text

    def post(self, timer: bool = False) -> None:
        """`postMessage`: when recognition ends, when an answer comes, and every two seconds (`timer`)."""
        if self.ordinary:
            if self.recognised.strip():
                self.socket.send(self.recognised)
                self.said.append(("user", self.recognised))
                self.loading = True
            self.recognised = ""
            return
        message = self.recognised[self._posted :] or ("<idle>" if timer else "")
        if message:
            self._posted = len(self.recognised)
            self.socket.send(message)

    def take(self) -> str:
        """`onmessage`."""
        message = str(self.socket.recv(timeout=PATIENCE))
        if message == "<!too_long!>":
            self.reloaded = True
        elif self.ordinary and message == "<!end!>":
            self.loading = False
            self.post()
        elif message.replace("<idle>", "").strip():
            if not self.ordinary:
                self.post()
            self._show(message.replace("<idle>", ""))
        return message

    def _show(self, message: str) -> None:
        """`onServerRespond`: an answer with no words of the person before it goes on with the last one."""
        asked, self.recognised, self._posted = ("" if self.ordinary else self.recognised), "", 0
        if asked:
            self.said += [("user", asked), ("assistant", message)]
        elif self.said and self.said[-1][0] == "assistant":
            self.said[-1] = ("assistant", self.said[-1][1] + message)
        else:
            self.said.append(("assistant", message))

    def until_said(self, text: str) -> None:
        while not (self.said and self.said[-1][0] == "assistant" and self.said[-1][1].split() == text.split()):
            self.take()

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


@pytest.mark.parametrize("path", PATHS)
def test_the_model_that_listens_while_it_speaks(place: Place, path: str) -> None:
    with Page(place, path=path) as page:
        page.post(timer=True)
        page.hear("well hello.")
        page.post(timer=True)
        page.until_said("hi you")
        page.post(timer=True)
        page.hear("goodbye.")
        page.post(timer=True)
        page.until_said("see you later")
        assert [(who, " ".join(text.split())) for who, text in page.said] == [
            ("user", "well hello."), ("assistant", "hi you"), ("user", "goodbye."), ("assistant", "see you later")
        ]  # fmt: skip


def test_a_sentence_may_come_in_several_slices(place: Place) -> None:
    with Page(place) as page:
        page.hear("well now")
        page.post(timer=True)
        page.hear(" hello.")
        page.post(timer=True)
        page.until_said("hi you")
        assert page.said[0] == ("user", "well now hello.")


def test_an_answer_comes_a_slice_at_a_time(place: Place) -> None:
    with Page(place) as page:
        page.hear("count.")
        page.post(timer=True)
        first, second = page.take(), page.take()
        assert first.split() == [f"n{i}" for i in range(10)]  # ten tokens, as in the paper
        assert second.split() == [f"n{i}" for i in range(10, 20)]


def test_words_interrupt_it(place: Place) -> None:
    with Page(place) as page:
        page.hear("count.")
        page.post(timer=True)
        page.take()
        page.hear("stop.")
        page.post(timer=True)
        page.hear("goodbye.")
        page.post(timer=True)
        while "see" not in page.take():
            pass
        assert "n59" not in page.said[1][1]


def test_the_ordinary_model_says_when_it_has_finished(place: Place) -> None:
    with Page(place, ordinary=True) as page:
        page.hear("hello.")
        page.post()
        page.until_said("hi you")
        assert page.loading
        assert page.take() == "<!end!>"
        assert not page.loading


def test_a_message_during_an_answer_is_answered_after_it(place: Place) -> None:
    with Page(place, ordinary=True) as page:
        for text in ("hello.", "goodbye."):
            page.hear(text)
            page.post()
        answers = [page.take() for _ in range(4)]
        assert [" ".join(text.split()) for text in answers] == ["hi you", "<!end!>", "see you later", "<!end!>"]


def test_a_new_session_forgets_the_one_before(place: Place) -> None:
    """The page opens a new socket; other clients of the published server use the old one."""
    eventually(lambda: place.served.sessions() == 0, "nobody is there")
    with Page(place) as page:
        page.hear("count.")
        page.post(timer=True)
        page.take()
        page.socket.send("<!new_ordinary_session!>")
        page.ordinary = True
        page.hear("hello.")
        page.post()
        page.said.clear()
        page.until_said("hi you")
        assert page.take() == "<!end!>"
        assert place.served.sessions() == 1
        page.socket.send("<!new_session!>")
        page.ordinary = False
        page.hear("goodbye.")
        page.post()
        assert page.take().split() == ["see", "you", "later"]
    eventually(lambda: place.served.sessions() == 0, "the slot is free")


def test_text_begins_a_session_by_itself(place: Place) -> None:
    with connect(f"ws://127.0.0.1:{place.served.port}/reference", proxy=None) as client:
        client.send("  ")
        client.send("hello.")
        assert str(client.recv(timeout=PATIENCE)).split() == ["hi", "you"]


def test_what_it_cannot_take_makes_the_page_begin_anew(place: Place) -> None:
    with Page(place) as page:
        page.hear("hello " * 5_000)  # more than a conversation holds
        page.post(timer=True)
        page.take()
        assert page.reloaded


def test_pages_of_other_sites_stay_outside(place: Place) -> None:
    address, evil = f"ws://127.0.0.1:{place.served.port}/reference", Origin("http://evil.example")
    with pytest.raises(InvalidStatus, match="403"), connect(address, proxy=None, origin=evil):
        pass


def test_a_cut_connection_frees_its_slot(place: Place) -> None:
    with Page(place) as page:
        page.hear("count.")
        page.post(timer=True)
        page.take()
        page.socket.socket.shutdown(socket.SHUT_RDWR)
        eventually(lambda: place.served.sessions() == 0, "the slot is free")


# — the dialect alone —


def delta(text: str, number: int) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "system": "duplex", "response_id": "duplex-1", "slice": number,
            "delta": text, "at": 0.0}  # fmt: skip


def test_the_words_of_a_slice_leave_together() -> None:
    dialect = Reference("duplex")
    before = dialect.wait_seconds
    assert dialect.outward(delta(" in", 1)).client == ()
    assert dialect.outward(delta(" the", 1)).client == ()
    assert (before, dialect.wait_seconds) == (None, SLICE_SECONDS)
    assert dialect.waited().client == (" in the",)
    dialect.outward(delta(" ground", 2))
    assert dialect.outward(delta(" below", 3)).client == (" ground",)


def test_what_was_cut_before_it_was_sent_is_not_sent() -> None:
    dialect = Reference("duplex")
    dialect.outward(delta(" in", 1))
    dialect.outward(delta(" the", 1))
    dialect.outward({"type": "duplex.cut", "response_id": "duplex-1", "slice": 1, "at": 0.0, "unheard": " the"})
    assert dialect.waited().client == (" in",)


def test_a_turn_without_an_answer_ends_as_well() -> None:
    dialect = Reference("turns", "hello")
    assert [event["type"] for event in dialect.opening()] == ["session.update", "conversation.item.create"]
    assert dialect.inward("goodbye").server == ()
    assert dialect.wait_seconds == ANSWER_SECONDS
    relay = dialect.waited()
    assert relay.client == ("<!end!>",)
    assert relay.server[0]["item"]["content"][0]["text"] == "goodbye"


@pytest.mark.parametrize("text", ["<idle>", " <idle> ", "", "\n"])
def test_silence_is_not_said(text: str) -> None:
    assert Reference("duplex").inward(text).server == ()


@pytest.mark.parametrize(("code", "told"), [("recording_stopped", ()), ("too_fast", ()), ("full", ("<!too_long!>",))])
def test_errors_that_end_a_talk_are_told(code: str, told: tuple[str, ...]) -> None:
    event = {"type": "error", "error": {"type": "server_error", "code": code, "message": "…"}}
    assert Reference("duplex").outward(event).client == told
