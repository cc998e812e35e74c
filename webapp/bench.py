"""`duplex bench`: what this machine does. A table for people, then one JSON line.

engine    our engine beside others on the same weights (duplex_runtime/evaluation/peers.py)
slice     one slice of the duplex model: 5 words appended, 10 tokens said, at 60 to 350 tokens of history
reaction  a real server, a client that types 30 sentences key by key: last key → first word received
prosody   is speech even where slices join? pitch, loudness and pauses there, against the same text spoken whole
voice     a recorded person speaks into a real browser's microphone, and both sides are recorded (webapp/bench_voice.py)
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from duplex_runtime.alignment.corpus import load
from duplex_runtime.engine.requests import Engine, Sampling, SliceRequest
from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.evaluation import peers, prosody
from duplex_runtime.models.load import LoadedModel, load_model
from duplex_runtime.speech.kit import Kit
from webapp import bench_voice


def run(what: str, model: str, out: Path | None = None) -> int:
    """Run one benchmark, or all. In `all` a row that cannot be measured is null, and `notes` says why.

    out: where `prosody` and `voice` leave what there is to listen to.
    """
    if out and what not in ("prosody", "voice"):
        raise BadInput(f"--out: expected with prosody or voice, which write sound, got it with {what}")
    if what == "prosody":
        prosody.run(Kit().voice("espeak"), out)
        return 0
    benchmarks: dict[str, Callable[[str], dict[str, Any]]] = {
        "engine": peers.run,
        "slice": slice_cost,
        "reaction": reaction,
        "screen": screen_reaction,
        "voice": lambda name: bench_voice.run(name, out),
    }
    result: dict[str, Any] = {}
    notes: list[str] = []
    for name in benchmarks if what == "all" else [what]:
        try:
            measured = benchmarks[name](model)
            notes += measured.pop("notes", [])
            result |= measured
        except DuplexError as error:
            if what != "all":
                raise
            result[name] = None
            notes.append(f"{name}: {error}")
    print(json.dumps(result | {"notes": notes}))
    return 0


def _quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _run(engine: Engine, slot: int, request: SliceRequest) -> None:
    engine.submit(slot, request)
    while engine.busy:
        engine.step()


def slice_cost(name: str, slices: int = 100) -> dict[str, float]:
    """Milliseconds of a listening slice and of a slice with ten tokens."""
    torch.set_num_threads(1)
    model = load_model(name, "duplex")
    layout, engine = model.layout, model.engine(slots=1)
    slot = engine.open(Sampling(idle_threshold=2.0))  # never silent: every slice says its tokens
    words = layout.user(model.vocabulary, "and what about the others")
    pair = [*words, *layout.close(())]
    times: dict[int, list[float]] = {0: [], 10: []}
    for i in range(slices):
        pairs = 5 + (i * 7) % 25  # histories of different length, in no order
        for tokens, measured in times.items():
            _run(engine, slot, SliceRequest(0, (layout.bos, *pair * pairs), 0))
            request = SliceRequest(1 + len(pair) * pairs, tuple(words), tokens, probes=(len(words) - 1,))
            begun = time.perf_counter()
            _run(engine, slot, request)
            measured.append(1000 * (time.perf_counter() - begun))
    listening, speaking = times.values()
    figures = {
        "listening_slice_ms_p50": statistics.median(listening),
        "ten_token_slice_ms_p50": statistics.median(speaking),
        "ten_token_slice_ms_p95": _quantile(speaking, 0.95),
    }
    print(f"one slice on one thread, {model.parameters / 1e6:.1f} M parameters")
    for key, value in figures.items():
        print(f"  {key:26} {value:8.1f}")
    return {key: round(value, 2) for key, value in figures.items()}


def reaction(name: str, sentences: int = 30) -> dict[str, float]:
    """Seconds from the last key of a sentence to the first word of the answer, over a real server."""
    with server_of(name) as port:
        times = asyncio.run(_type_sentences(port, some_questions(sentences)))
    return _report_reaction("reaction", times, sentences)


def screen_reaction(name: str, sentences: int = 20) -> dict[str, float]:
    """Seconds from the last key of a sentence to the first word of the answer drawn by a real Chromium."""
    try:
        from playwright.sync_api import Error as PlaywrightError
        from playwright.sync_api import TimeoutError as PlaywrightTimeout
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise DuplexError("no_browser", 'needs the dev extra: pip install -e ".[dev]"') from None
    path = os.environ.get("DUPLEX_CHROMIUM") or next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )
    times = []
    with server_of(name) as port, sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        except PlaywrightError as error:
            raise DuplexError("no_browser", f"no Chromium could be started: {error.message.splitlines()[0]}") from None
        page = browser.new_page()
        page.add_init_script(_PROBE)
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#duplex-arena textarea").click()
        for question in some_questions(sentences):
            page.evaluate("window.probe.begin()")
            page.keyboard.type(question, delay=60)
            try:
                page.wait_for_function("window.probe.word !== null", timeout=8000)
                times.append(page.evaluate("(window.probe.word - window.probe.key) / 1000"))
            except PlaywrightTimeout:
                continue
            page.wait_for_function("!document.querySelector('.da-panel-duplex.da-speaking')", timeout=60_000)
        browser.close()
    return _report_reaction("screen", times, sentences)


#: Runs in the page: when was the last key pressed, when was the next word of the left answer painted?
_PROBE = """
window.probe = { key: 0, word: null, begin() { this.word = null; this.key = Infinity; } };
addEventListener("keydown", () => { window.probe.key = performance.now(); }, true);
addEventListener("DOMContentLoaded", () => new MutationObserver((changes) => {
  for (const change of changes) for (const node of change.addedNodes) {
    if (node.nodeType === 1 && node.classList.contains("da-word") && node.closest(".da-panel-duplex"))
      requestAnimationFrame(() => { window.probe.word ??= performance.now(); });
  }
}).observe(document.body, { childList: true, subtree: true }));
"""


@contextmanager
def server_of(name: str, watch: Callable[[LoadedModel], Any] | None = None) -> Iterator[int]:
    """A real server with an empty data folder; gives its port. watch: what stands in the place of the duplex model."""
    from webapp.app import create_app
    from webapp.serve import bind, server
    from webapp.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(model=name, data=Path(folder)))
        listener = bind("127.0.0.1", 0)
        if watch:
            models = app.state.arena.models
            models["duplex"] = watch(models["duplex"])
        running = server(app)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join()


def some_questions(count: int) -> list[str]:
    """In wordings that training never saw."""
    rng = random.Random(0)
    asks = [ask for fact in load().facts for ask in fact.asks(held_out=True) if ask.endswith("?")]
    return [rng.choice(asks) for _ in range(count)]


def _report_reaction(name: str, times: list[float], asked: int) -> dict[str, float]:
    times = [t for t in times if t > 0]  # an answer before the last key is no reaction to it
    if not times:
        raise DuplexError("no_answer", f"none of {asked} sentences was answered: nothing to measure")
    figures = {
        f"{name}_s_p50": statistics.median(times),
        f"{name}_s_p95": _quantile(times, 0.95),
        f"{name}_answered": len(times) / asked,
    }
    print(f"{name}: last key → first word, adaptive slices, {asked} sentences typed at 60 ms a key")
    for key, value in figures.items():
        print(f"  {key:26} {value:8.3f}")
    return {key: round(value, 4) for key, value in figures.items()}


async def _type_sentences(port: int, questions: Sequence[str]) -> list[float]:
    from websockets.asyncio.client import connect

    times = []
    async with connect(f"ws://127.0.0.1:{port}/v1/realtime") as socket:
        await socket.send(json.dumps({"type": "session.update", "session": {"slice_seconds": "adaptive"}}))
        for question in questions:
            for key in question:
                await socket.send(json.dumps({"type": "duplex.input.edit", "delete": 0, "insert": key}))
                typed = time.perf_counter()
                await asyncio.sleep(0.06)
            first = None
            try:
                async with asyncio.timeout(8):
                    async for message in socket:
                        event = json.loads(message)
                        if event.get("system") != "duplex":
                            continue
                        if event["type"] == "response.output_text.delta" and first is None:
                            first = time.perf_counter() - typed
                        if event["type"] == "response.done":
                            break
            except TimeoutError:
                pass
            if first is not None:
                times.append(first)
    return times
