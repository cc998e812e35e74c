"""What the server counts, in Prometheus' text format.

metrics = Metrics()
worker = Worker("duplex", metrics.loop("duplex", model.engine(64)))    # slices, tokens, places, strain
metrics.opened()                                                       # what a connection tells of itself
metrics.text()                                                         # what GET /metrics answers

Values live in a registry of the object's own. Nothing here knows what anybody said or who they are. Everything may be
called from any thread.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from duplex_runtime.engine.requests import Engine, Output, Sampling, SliceRequest
from duplex_runtime.loop import Loop
from duplex_runtime.strain import Strain

#: The format of `generate_latest` as every Prometheus since 2014 reads it.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Upper ends in seconds: slices last 0.3 to 4 s, computing one takes 5 ms to some seconds.
LATE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
COMPUTING_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """See the module."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time and open files of this process
        system = ("system",)
        self._conversations = Gauge("duplex_conversations", "Talks that are held now.", registry=registry)
        self._waiting = Gauge("duplex_waiting", "People who wait for a place.", registry=registry)
        self._connections = Counter(
            "duplex_connections", "Talks opened, connections lost, talks resumed.", ("event",), registry=registry
        )
        self._refused = Counter(
            "duplex_refused", "Connections and requests that were refused.", ("reason",), registry=registry
        )
        self._sent = Counter("duplex_sent_bytes", "Bytes of events sent to clients.", registry=registry)
        self._places = Gauge("duplex_places_taken", "Places taken in a model.", system, registry=registry)
        self._strain = Gauge(
            "duplex_strain_level", "0: on time; 1 to 3: what is given up for it.", system, registry=registry
        )
        self._tokens = Counter(
            "duplex_tokens", "Tokens that a model read and said.", (*system, "kind"), registry=registry
        )
        self._late = Histogram(
            "duplex_slice_late_seconds",
            "From when a slice was due to its last word, less what may be said later.",
            system,
            registry=registry,
            buckets=LATE_SECONDS,
        )
        self._computing = Histogram(
            "duplex_slice_computing_seconds",
            "How long a slice was in the engine, with all that it shared the passes with.",
            system,
            registry=registry,
            buckets=COMPUTING_SECONDS,
        )
        for event in ("opened", "lost", "resumed"):
            self._connections.labels(event)

    # — what connections tell —

    def opened(self) -> None:
        """A talk began."""
        self._connections.labels("opened").inc()
        self._conversations.inc()

    def ended(self) -> None:
        """A talk that was `opened` is over."""
        self._conversations.dec()

    def lost(self) -> None:
        """A connection broke off; its talk may be resumed."""
        self._connections.labels("lost").inc()

    def resumed(self) -> None:
        """A client came back to its talk."""
        self._connections.labels("resumed").inc()

    def refused(self, reason: str) -> None:
        """Somebody was not let in. reason: one of our own error codes, never what a client sent."""
        self._refused.labels(reason).inc()

    def waiting(self, people: Callable[[], int]) -> None:
        """Who knows how many wait now."""
        self._waiting.set_function(people)

    def sent(self, size: int) -> None:
        """So many bytes of events left."""
        self._sent.inc(size)

    # — what models tell —

    def loop(self, system: str, engine: Engine) -> Loop:
        """A loop over this engine, which tells what it does."""
        loop = Loop(_Counted(engine, system, self))
        loop.strain = _Told(self._late.labels(system))
        self._strain.labels(system).set_function(lambda: loop.strain.level)
        return loop

    # — for whoever asks —

    def text(self) -> bytes:
        """All of it, in the text format."""
        return generate_latest(self._registry)


class _Told(Strain):
    """Does as `Strain` does, and tells how late each slice was."""

    def __init__(self, late: Histogram) -> None:
        super().__init__()
        self._observed = late

    def note(self, late_seconds: float, period_seconds: float) -> bool:
        """Count a slice; has the level changed?"""
        self._observed.observe(late_seconds)
        return super().note(late_seconds, period_seconds)


class _Counted:
    """An engine that tells of its slots, slices and tokens. One thread owns it, as every engine."""

    def __init__(self, engine: Engine, system: str, metrics: Metrics) -> None:
        self._engine = engine
        self._since: dict[int, float] = {}  # by slot: when its slice came
        self._places = metrics._places.labels(system)
        self._computing = metrics._computing.labels(system)
        self._read = metrics._tokens.labels(system, "read")
        self._said = metrics._tokens.labels(system, "said")

    @property
    def busy(self) -> bool:
        """Is any request unfinished?"""
        return self._engine.busy

    def open(self, sampling: Sampling) -> int:
        """A new empty slot."""
        slot = self._engine.open(sampling)
        self._places.inc()
        return slot

    def submit(self, slot: int, request: SliceRequest) -> None:
        """Queue a request."""
        self._engine.submit(slot, request)
        self._since[slot] = time.perf_counter()
        self._read.inc(len(request.ids))

    def step(self) -> Sequence[Output]:
        """One forward pass."""
        outputs = self._engine.step()
        now = time.perf_counter()
        self._said.inc(sum(output.token is not None for output in outputs))
        for output in outputs:
            if output.done and (since := self._since.pop(output.slot, None)) is not None:
                self._computing.observe(now - since)
        return outputs

    def stop(self, slot: int) -> None:
        """Say no more for the request in work."""
        self._engine.stop(slot)

    def close(self, slot: int) -> None:
        """Give the slot back."""
        self._engine.close(slot)
        self._since.pop(slot, None)
        self._places.dec()

    def shutdown(self) -> None:
        """End what the engine holds."""
        self._engine.shutdown()


class MetricsPage:
    """GET /metrics. token: who knows it may read, as a Bearer; without one everybody may.

    closed: without a token nobody may. A blind study is closed: the counts of one system grow while somebody talks to
    it, and would tell which it is.
    """

    def __init__(self, metrics: Metrics, token: str | None, closed: bool = False) -> None:
        self._metrics, self._token, self._closed = metrics, token, closed

    async def answer(self, request: Request) -> Response:
        """The answer to a request."""
        if self._token:
            kind, _, given = request.headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(
                given.strip().encode("latin-1"), self._token.encode()
            ):
                return PlainTextResponse(
                    "expected the token of DUPLEX_METRICS_TOKEN as Bearer\n", 401, {"WWW-Authenticate": "Bearer"}
                )
        elif self._closed:
            return PlainTextResponse("closed during a study: set DUPLEX_METRICS_TOKEN\n", 403)
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})
