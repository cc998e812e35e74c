"""`duplex chat`: the terminal version. Every key is heard; every slice is a line."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator, Sequence

import torch

from duplex_runtime.clock import RealClock
from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.events import Cut, Delta, Edit, Enter, Event, Input, Slice, UserText, Yield
from duplex_runtime.loop import Loop
from duplex_runtime.models.load import Choice, default_sampling
from duplex_runtime.slices import Slicing

_DIM, _BOLD, _STRUCK, _OFF = "\x1b[2m", "\x1b[1m", "\x1b[9;2m", "\x1b[0m"


class Screen:
    """An observer that prints slices as they happen, above the line being typed."""

    def __init__(self, colours: bool) -> None:
        self.typed = ""
        self._colours = colours
        self._shown: list[tuple[float, str]] = []
        self._line = ""

    def heard(self, event: Input, at: float) -> None:
        """Nothing: the line being typed shows it."""

    def asked(self, now: float, request: SliceRequest | None) -> None:
        """Nothing."""

    def answered(self, output: Output, at: float) -> None:
        """Nothing."""

    def happened(self, events: Sequence[Event]) -> None:
        """Print what happened; words of the model wait until they are due."""
        for event in events:
            match event:
                case Slice() if event.user or not event.idle:
                    p = "" if event.p_idle is None else f"{event.p_idle:4.2f}"
                    mark = f"○ {p}" if event.idle else f"● {p}"
                    self._row(f"{event.at:7.1f} s  {mark:8} you ▐{event.user}▌" if event.user else "")
                case Delta():
                    self._shown.append((event.at, event.delta))
                case Cut():
                    self._shown.clear()
                    self._flush_line(self._style(_STRUCK, event.unheard))
                case Yield():
                    self._row(f"{event.at:7.1f} s  ╳ it yields")

    def show(self, now: float) -> None:
        """Print the words that are due by `now`, and the line being typed."""
        while self._shown and self._shown[0][0] <= now:
            self._line += self._shown.pop(0)[1]
            if len(self._line) > 60 and self._line[-1:] in ".?! ,":
                self._flush_line("")
        self._prompt()

    def finish_line(self) -> None:
        """Print what the model has said so far."""
        if self._line:
            self._flush_line("")

    def _flush_line(self, tail: str) -> None:
        text, self._line = self._line.strip(), ""
        if text or tail:
            self._row(f"{'':19} {self._style(_BOLD, text)}{tail}")

    def _row(self, text: str) -> None:
        if text:
            sys.stdout.write(f"\r\x1b[K{text}\r\n" if self._colours else f"{text}\n")
            self._prompt()

    def _prompt(self) -> None:
        if self._colours:
            speaking = f"{_DIM}… {self._line.strip()[-40:]}{_OFF} " if self._line else ""
            sys.stdout.write(f"\r\x1b[K{speaking}> {self.typed[-60:]}")
        sys.stdout.flush()

    def _style(self, style: str, text: str) -> str:
        return f"{style}{text}{_OFF}" if text and self._colours else text


@contextlib.contextmanager
def _raw_keys() -> Iterator[None]:
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def chat(choice: Choice, system: str, slicing: Slicing, seed: int, idle_threshold: float | None = None) -> int:
    """Talk until Ctrl-C, Ctrl-D or the end of standard input."""
    torch.set_num_threads(1)
    model = choice.load(system)
    loop, clock = Loop(model.engine(slots=1)), RealClock()
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    screen = Screen(colours=terminal)
    sampling = default_sampling(choice.name, seed, idle_threshold)
    session = loop.add(model.conversation(system, slicing), clock, sampling, [screen])
    if terminal:
        print(f"{choice.name}, {system}: type; every key is heard. Enter ends a sentence at once. Ctrl-C leaves.")
    with _raw_keys() if terminal else contextlib.nullcontext():
        open_input = True
        while open_input or not loop.quiet:
            wait = loop.wait_seconds()
            ready = open_input and select.select([sys.stdin], [], [], min(0.05, wait if wait is not None else 0.05))[0]
            if ready:
                data = os.read(sys.stdin.fileno(), 4096).decode("utf-8", "replace")
                open_input = bool(data) and "\x04" not in data
                for event in _inputs(data, screen):
                    loop.hear(session, event, clock.now())
            elif not open_input and wait:
                select.select([], [], [], min(wait, 0.05))
            loop.turn()
            screen.show(clock.now())
            if loop.quiet:
                screen.finish_line()
    screen.finish_line()
    return 0


def _inputs(data: str, screen: Screen) -> Iterator[Input]:
    for key in data:
        if key in "\r\n":
            screen.typed = ""
            yield Enter()
        elif key in "\x7f\b":
            screen.typed = screen.typed[:-1]
            yield Edit(1)
        elif key != "\x04":
            screen.typed += key
            yield UserText(key)
