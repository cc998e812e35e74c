"""People wait for a place over a real socket: what they are told, and what becomes of them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.web_fakes import PATIENCE, Client, Place, eventually
from webapp.admission import Admission, Limits
from webapp.lobby import MOST_SAID
from webapp.sockets import SLOW


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def come(place: Place) -> Iterator[Callable[[], Client]]:
    with ExitStack() as leave:
        yield lambda: leave.enter_context(Client(place.served.ws))


def limit(place: Place, **limits: Any) -> Admission:
    admission = place.served.arena.admission = Admission(Limits(**{"per_person": None} | limits))
    return admission


def test_who_comes_when_all_places_are_taken_sees_their_position_and_then_has_a_session(
    place: Place, come: Callable[[], Client]
) -> None:
    limit(place, places=1)
    first, second, third = come(), come(), come()
    first.begin()
    second.send({"type": "session.update", "session": {}})
    assert second.until("duplex.queue")["position"] == 1
    third.send({"type": "session.update", "session": {"slice_seconds": 2}})
    told = third.until("duplex.queue", position=2)
    assert (told["waiting"], told["estimate_seconds"]) == (2, None)
    first.close()
    session = second.until("session.created")["session"]
    third.until("duplex.queue", position=1)
    second.type("hello ")
    second.enter()
    second.until("response.done", system="duplex")
    assert session["slice_seconds"] == "adaptive"
    second.close()
    assert third.until("session.created")["session"]["slice_seconds"] == 2  # what they said while they waited


def test_who_leaves_the_queue_frees_their_place_in_it(place: Place, come: Callable[[], Client]) -> None:
    admission = limit(place, places=1)
    come().begin()
    second, third = come(), come()
    second.until("duplex.queue", position=1)
    third.until("duplex.queue", position=2)
    second.close()
    third.until("duplex.queue", position=1)
    third.cut()
    eventually(lambda: admission.waiting == 0, "nobody waits")


def test_a_place_is_kept_while_the_client_is_away_and_free_when_the_session_ends(
    place: Place, come: Callable[[], Client]
) -> None:
    admission = limit(place, places=1)
    first, second = come(), come()
    first.begin()
    second.until("duplex.queue")
    first.cut()
    eventually(lambda: place.served.arena._leaving != {}, "the session waits for its client")
    assert admission.taken == 1
    with pytest.raises(AssertionError, match=r"no session\.created"):
        second.send({"type": "session.update", "session": {}})
        second.until("session.created", seconds=0.3)


@pytest.mark.parametrize(
    ("limits", "code"), [({"places": 1, "waiting": 0}, "full"), ({"places": 9, "per_person": 1}, "too_many")]
)
def test_who_cannot_wait_is_told_why(place: Place, come: Callable[[], Client], limits: Any, code: str) -> None:
    limit(place, **limits)
    come().begin()
    second = come()
    assert second.until("error")["error"]["code"] == code
    assert second.until_closed() == SLOW
    assert f'duplex_refused_total{{reason="{code}"}} 1.0' in place.served.arena.metrics.text().decode()


def test_who_talks_and_talks_while_they_wait_is_closed(place: Place, come: Callable[[], Client]) -> None:
    admission = limit(place, places=1)
    come().begin()
    second = come()
    second.until("duplex.queue")
    for _ in range(MOST_SAID // 1000 + 1):
        second.send("x" * 1000)
    assert second.until("error")["error"]["code"] == "too_fast"
    assert second.until_closed() == SLOW
    eventually(lambda: admission.waiting == 0, "nobody waits")


def test_a_session_that_is_too_long_is_warned_and_ended(place: Place, come: Callable[[], Client]) -> None:
    admission = limit(place, places=1, session_seconds=0.4, warn_seconds=0.2)
    client = come()
    client.begin()
    assert client.until("duplex.ending")["why"] == "time"
    assert client.until("duplex.ended")["why"] == "time"
    assert client.until_closed() == 1000
    eventually(lambda: admission.taken == 0 and place.served.sessions() == 0, "the place is free")


def test_who_does_something_stays(place: Place, come: Callable[[], Client]) -> None:
    limit(place, places=1, idle_seconds=1.0, warn_seconds=0.7)
    client = come()
    client.begin()
    assert client.until("duplex.ending")["why"] == "idle"
    client.type("a")
    client.until("duplex.stays")
    assert client.until("duplex.ended")["why"] == "idle"


def test_a_session_that_ends_while_its_client_is_away_is_over(place: Place, come: Callable[[], Client]) -> None:
    admission = limit(place, places=1, session_seconds=0.5)
    client = come()
    client.begin()
    client.cut()
    eventually(lambda: admission.taken == 0 and place.served.sessions() == 0, "the place is free")
    assert not place.served.arena._sessions


def test_at_sigterm_people_are_told_and_the_server_ends_when_they_have_gone(
    place: Place, come: Callable[[], Client]
) -> None:
    admission = limit(place, places=1)
    server = place.served._server
    server._drain = admission.drain
    client, waiting = come(), come()
    client.begin()
    waiting.until("duplex.queue")
    server.handle_exit(signal.SIGTERM, None)
    assert client.until("duplex.ending")["why"] == "shutdown"
    assert waiting.until("error")["error"]["code"] == "draining"
    assert not server.should_exit
    client.close()
    eventually(lambda: server.should_exit, "the server ends")
    place.served._thread.join(PATIENCE)


def test_a_second_sigterm_ends_it_at_once(place: Place, come: Callable[[], Client]) -> None:
    server = place.served._server
    server._drain = limit(place, places=1).drain
    come().begin()
    for _ in range(2):
        server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
