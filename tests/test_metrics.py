from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from duplex_runtime.clock import RealClock, SimulatedClock
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import UserText
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.loop import Loop, run_script
from tests.fakes import FakeEngine, Words, answering
from tests.study_fakes import quick_study
from tests.web_fakes import PATIENCE, Client, Served, app_of, eventually
from webapp.metrics import Metrics

WORDS = Words()
ANSWERS = {"hello": "hi you"}


def read(text: str | bytes) -> dict[str, float]:
    """Every sample by its name and labels, as `duplex_tokens_total{kind=said,system=duplex}`."""
    text = text if isinstance(text, str) else text.decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def value(metrics: Metrics, name: str) -> float:
    return read(metrics.text())[name]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def talk(loop: Loop, text: str = "hello. ") -> None:
    """One conversation, from its beginning to its end, in no time."""
    clock = SimulatedClock()
    session = loop.add(DuplexConversation(EMBEDDED, WORDS), clock, Sampling())
    run_script(loop, session, [(0.0, UserText(text))], clock)
    loop.remove(session)


# — what connections tell —


def test_a_talk_counts_from_its_beginning_to_its_end(metrics: Metrics) -> None:
    metrics.opened()
    metrics.opened()
    metrics.lost()
    metrics.resumed()
    metrics.ended()
    assert value(metrics, "duplex_conversations") == 1
    assert [value(metrics, f"duplex_connections_total{{event={e}}}") for e in ("opened", "lost", "resumed")] == [
        2,
        1,
        1,
    ]


def test_refusals_are_counted_by_their_reason(metrics: Metrics) -> None:
    for reason in ("full", "busy", "full"):
        metrics.refused(reason)
    assert value(metrics, "duplex_refused_total{reason=full}") == 2
    assert value(metrics, "duplex_refused_total{reason=busy}") == 1


def test_what_is_sent_and_who_waits(metrics: Metrics) -> None:
    metrics.sent(120)
    metrics.sent(80)
    waiting = [5]
    metrics.waiting(lambda: len(waiting))
    assert value(metrics, "duplex_sent_bytes_total") == 200
    assert value(metrics, "duplex_waiting") == 1
    waiting.append(6)
    assert value(metrics, "duplex_waiting") == 2


def test_two_servers_in_one_process_count_apart(metrics: Metrics) -> None:
    other = Metrics()
    metrics.opened()
    assert value(other, "duplex_conversations") == 0


# — what models tell —


def test_slices_and_tokens_of_a_talk_are_counted(metrics: Metrics) -> None:
    engine = FakeEngine(answering(ANSWERS, WORDS))
    loop = metrics.loop("duplex", engine)
    talk(loop)
    counted = read(metrics.text())
    assert counted["duplex_tokens_total{kind=said,system=duplex}"] == 2
    assert counted["duplex_tokens_total{kind=read,system=duplex}"] > 2
    slices = counted["duplex_slice_computing_seconds_count{system=duplex}"]
    assert slices == 1  # silence costs none
    assert counted["duplex_slice_late_seconds_count{system=duplex}"] == slices
    assert counted["duplex_slice_late_seconds_sum{system=duplex}"] == 0  # on the simulated clock nothing takes time
    assert counted["duplex_places_taken{system=duplex}"] == 0


def test_places_are_those_that_are_taken_now(metrics: Metrics) -> None:
    loop = metrics.loop("turns", FakeEngine(slots=2))
    sessions = [loop.add(DuplexConversation(EMBEDDED, WORDS), RealClock(), Sampling()) for _ in range(2)]
    assert value(metrics, "duplex_places_taken{system=turns}") == 2
    with pytest.raises(DuplexError):
        loop.add(DuplexConversation(EMBEDDED, WORDS), RealClock(), Sampling())
    assert value(metrics, "duplex_places_taken{system=turns}") == 2
    for session in sessions:
        loop.remove(session)
        loop.remove(session)
    assert value(metrics, "duplex_places_taken{system=turns}") == 0


def test_a_slice_that_is_late_raises_the_level_and_is_seen(metrics: Metrics) -> None:
    loop = metrics.loop("duplex", FakeEngine())
    for _ in range(40):
        loop.strain.note(1.9, 2.0)
    assert value(metrics, "duplex_strain_level{system=duplex}") == loop.strain.level == 1
    assert value(metrics, "duplex_slice_late_seconds_bucket{le=1.0,system=duplex}") == 0
    assert value(metrics, "duplex_slice_late_seconds_bucket{le=2.0,system=duplex}") == 40


def test_a_talk_that_breaks_off_leaves_nothing_behind(metrics: Metrics) -> None:
    class Failing(FakeEngine):
        def step(self) -> Any:
            raise RuntimeError("out of memory")

    loop, told = metrics.loop("duplex", Failing(answering(ANSWERS, WORDS))), []
    clock = SimulatedClock()
    session = loop.add(DuplexConversation(EMBEDDED, WORDS), clock, Sampling(), failed=told.append)
    run_script(loop, session, [(0.0, UserText("hello. "))], clock, patience=5)
    assert len(told) == 1
    assert value(metrics, "duplex_places_taken{system=duplex}") == 0
    assert value(metrics, "duplex_slice_computing_seconds_count{system=duplex}") == 0


# — /metrics —


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(app_of(tmp_path_factory.mktemp("metrics"))) as served:
        yield served


def get(served: Served, **headers: str) -> httpx.Response:
    return httpx.get(f"{served.url}/metrics", headers=headers, timeout=PATIENCE, trust_env=False)


def test_a_typed_talk_moves_the_counters_and_none_of_its_words_are_in_them(served: Served) -> None:
    with Client(served.ws) as client:
        client.begin()
        client.type("hello.")
        client.until("response.created", system="duplex")
        client.until("duplex.reaction", system="duplex")
        during = read(get(served).text)
        assert during["duplex_places_taken{system=duplex}"] == during["duplex_places_taken{system=turns}"] == 1
    eventually(lambda: read(get(served).text)["duplex_places_taken{system=duplex}"] == 0, "the place is free")
    response = get(served)
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    after = read(response.text)
    assert after["duplex_tokens_total{kind=said,system=duplex}"] >= 1
    assert after["duplex_slice_computing_seconds_sum{system=duplex}"] > 0
    assert "hello" not in response.text and "hi you" not in response.text


def test_a_page_from_elsewhere_is_counted_as_refused(served: Served) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    with pytest.raises(InvalidStatus), connect(served.ws, proxy=None, origin="https://elsewhere.example"):
        pass
    assert read(get(served).text)["duplex_refused_total{reason=origin}"] == 1


def test_with_a_token_only_who_knows_it_may_read(tmp_path: Path) -> None:
    with Served(app_of(tmp_path, metrics_token="sésame")) as served:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "sésame"}, {"Authorization": "Bearer"}):
            refused = httpx.get(
                f"{served.url}/metrics",
                headers={key: text.encode() for key, text in given.items()},
                trust_env=False,
            )
            assert refused.status_code == 401, given
            assert "duplex_" not in refused.text
        right = httpx.get(f"{served.url}/metrics", headers={"Authorization": "Bearer sésame".encode()}, trust_env=False)
        assert right.status_code == 200


def test_during_a_study_the_counters_are_closed_without_a_token(tmp_path: Path) -> None:
    """Those of one system grow while somebody talks to it."""
    folder = quick_study(tmp_path / "study").folder
    with Served(app_of(tmp_path / "data", study=folder)) as served:
        assert get(served).status_code == 403
        assert httpx.get(f"{served.url}/healthz", trust_env=False).status_code == 200
