"""`duplex bench`: what this machine does. A table for people, then one JSON line.

slice     one slice of the duplex model: 5 words appended, 10 tokens said, at 60 to 350 tokens of history
reaction  a real server, a client that types 30 sentences key by key: last key → first word received
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from duplex_runtime.alignment.corpus import load
from duplex_runtime.engine.requests import Engine, Sampling, SliceRequest
from duplex_runtime.models.load import load_model


def run(what: str, model: str) -> int:
    """Run one benchmark, or all."""
    result: dict[str, Any] = {}
    if what in ("slice", "all"):
        result |= slice_cost(model)
    if what in ("reaction", "all"):
        result |= reaction(model)
    print(json.dumps(result))
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
    from webapp.app import create_app
    from webapp.serve import bind, server
    from webapp.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        listener = bind("127.0.0.1", 0)
        app = create_app(Settings(model=name, data=Path(folder)))
        running = server(app)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            times = asyncio.run(_type_sentences(listener.getsockname()[1], sentences))
        finally:
            running.should_exit = True
            thread.join()
    figures = {
        "reaction_s_p50": statistics.median(times),
        "reaction_s_p95": _quantile(times, 0.95),
        "answered": len(times) / sentences,
    }
    print(f"last key → first word, adaptive slices, {sentences} sentences typed at 60 ms a key")
    for key, value in figures.items():
        print(f"  {key:26} {value:8.3f}")
    return {key: round(value, 4) for key, value in figures.items()}


async def _type_sentences(port: int, count: int) -> list[float]:
    from websockets.asyncio.client import connect

    rng = random.Random(0)
    asks = [ask for fact in load().facts for ask in fact.asks(held_out=True) if ask.endswith("?")]
    times = []
    async with connect(f"ws://127.0.0.1:{port}/v1/realtime") as socket:
        await socket.send(json.dumps({"type": "session.update", "session": {"slice_seconds": "adaptive"}}))
        for _ in range(count):
            for key in rng.choice(asks):
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
