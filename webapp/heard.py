"""What a person says and hears at the page, recorded in a real browser whose microphone plays a WAV.

with sync_playwright() as playwright, talking(playwright.chromium, wav) as page:
    page.goto(url)
    …
    heard = fetch(page)          # tracks of sound, events with their times, all on one clock

Times are seconds from the first sample of the tracks, so that what happened and what was heard can be compared. They
are those of the sound's own clock: how long a real loudspeaker and microphone take beyond it is not in them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duplex_runtime.errors import DuplexError

SCRIPT = Path(__file__).with_suffix(".js")
#: The page's clock is compared with the sound's within so many seconds around a moment: they drift.
_AROUND_SECONDS = 2.0


@dataclass(frozen=True)
class Told:
    """Something that happened at `at`."""

    at: float
    event: dict[str, Any]

    @property
    def type(self) -> str:
        """Its name on the wire; "" for a report."""
        return str(self.event.get("type", ""))


@dataclass(frozen=True)
class Heard:
    """Three tracks, float32[n] at `rate`: the microphone, the voice before it is lowered, what the loudspeaker got.
    received, sent: what travelled on the WebSocket, without the sound of the microphone. reports: of the worklet."""

    rate: int
    microphone: np.ndarray
    voice: np.ndarray
    loudspeaker: np.ndarray
    received: tuple[Told, ...]
    sent: tuple[Told, ...]
    reports: tuple[Told, ...]

    def of(self, kind: str, since: float = -np.inf, until: float = np.inf, **values: Any) -> list[Told]:
        """Events received of a type, with these values, between two moments."""
        return [
            told
            for told in self.received
            if told.type == kind and since <= told.at < until and values.items() <= told.event.items()
        ]


@contextmanager
def talking(chromium: Any, wav: Path | None, *, allowed: bool = True) -> Iterator[Any]:
    """A page in a browser whose microphone plays `wav` once it is switched on; allowed: the person lets it be used."""
    from playwright.sync_api import Error as PlaywrightError

    path = os.environ.get("DUPLEX_CHROMIUM") or next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )
    flags = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream"]
    flags += ["--autoplay-policy=no-user-gesture-required"]
    flags += ["--use-fake-ui-for-media-stream"] if allowed else []
    flags += [f"--use-file-for-fake-audio-capture={wav}%noloop"] if wav else []
    try:
        browser = chromium.launch(executable_path=path, args=flags)
    except PlaywrightError as error:
        raise DuplexError("no_browser", f"no Chromium could be started: {error.message.splitlines()[0]}") from None
    try:
        page = browser.new_page(bypass_csp=True)  # the script's recorder is a worklet of its own
        page.add_init_script(path=SCRIPT)
        yield page
    finally:
        browser.close()


def fetch(page: Any) -> Heard:
    """What was recorded so far."""
    frame, rate, clock, received, sent, reports = page.evaluate(
        "[heard.blocks[0]?.frame ?? 0, heard.rate, heard.clock, heard.events, heard.sent, heard.reports]"
    )
    if not rate:
        raise DuplexError("no_sound", "the page opened neither a microphone nor a loudspeaker")
    begun = frame / rate
    tracks = [
        np.frombuffer(base64.b64decode(page.evaluate(f"heard.track({number})")), "<i2").astype(np.float32) / 32768
        for number in range(3)
    ]
    clocks = Clocks(clock)
    return Heard(
        int(rate),
        microphone=tracks[0],
        voice=tracks[2],
        loudspeaker=tracks[1],
        received=tuple(Told(clocks.sound(at / 1000) - begun, json.loads(text)) for at, text in received),
        sent=tuple(Told(clocks.sound(at / 1000) - begun, json.loads(text)) for at, text in sent),
        reports=tuple(Told(at - begun, report) for at, report in reports),
    )


class Clocks:
    """From the page's time to the sound's. pairs: (seconds of the sound, milliseconds of the page), read together.

    The sound's clock moves on in steps, so a pair read late in a step says too little: the least difference around a
    moment is the true one.
    """

    def __init__(self, pairs: Sequence[Sequence[float]]) -> None:
        if not pairs:
            raise DuplexError("no_sound", "the page has no clock of sound")
        self._page = [page / 1000 for _, page in pairs]
        self._difference = [page / 1000 - sound for sound, page in pairs]

    def sound(self, page: float) -> float:
        """Both in seconds."""
        first = bisect_left(self._page, page - _AROUND_SECONDS)
        last = bisect_right(self._page, page + _AROUND_SECONDS)
        near = self._difference[first:last] or [self._difference[min(first, len(self._difference) - 1)]]
        return page - min(near)
