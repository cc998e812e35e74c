import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from duplex_runtime.events import Cut, Delta, Edit, Enter, Slice, UserText, Yield
from duplex_runtime.models import load
from duplex_runtime.models.load import Choice
from duplex_runtime.slices import Slicing
from tests.web_fakes import LONG_PATIENCE, PATIENCE, FakeModels, save_tiny_model
from webapp.chat import Screen, _inputs, chat

ROOT = Path(__file__).resolve().parents[1]


def test_keys_become_text_corrections_and_enter() -> None:
    screen = Screen(colours=False)
    assert list(_inputs("hé\x7f!\b\r", screen)) == [
        UserText("h"), UserText("é"), Edit(1), UserText("!"), Edit(1), Enter(),
    ]  # fmt: skip
    assert screen.typed == ""


def test_the_line_being_typed_is_kept_until_enter() -> None:
    screen = Screen(colours=False)
    list(_inputs("hello\x7f\x7fp", screen))
    assert screen.typed == "help"


def test_words_appear_when_they_are_due_and_not_before(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(colours=False)
    screen.happened([Delta("duplex", "duplex-1", 0, " one", 1.0), Delta("duplex", "duplex-1", 0, " two", 2.0)])
    screen.show(1.5)
    screen.finish_line()
    assert capsys.readouterr().out.split() == ["one"]
    screen.show(2.0)
    screen.finish_line()
    assert capsys.readouterr().out.split() == ["two"]


def test_a_slice_a_cut_and_a_yield_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(colours=False)
    screen.happened(
        [
            Slice("duplex", 0, 0.0, 1.0, "well then", True, 0.93),
            Slice("duplex", 1, 1.0, 2.0, "", True, 0.99),
            Slice("duplex", 2, 2.0, 3.0, "go on.", False, 0.02),
            Cut("duplex", "duplex-1", 2, 3.5, "never seen"),
            Yield("duplex", 3.5),
        ]
    )
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines()] == [
        ["1.0", "s", "○", "0.93", "you", "▐well", "then▌"],
        ["3.0", "s", "●", "0.02", "you", "▐go", "on.▌"],
        ["never", "seen"],
        ["3.5", "s", "╳", "it", "yields"],
    ]


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.FileIO]:
    """Standard input is a pipe; its other end."""
    monkeypatch.setattr(load, "load_model", FakeModels())
    read, write = os.pipe()
    with os.fdopen(read, "r") as stdin, os.fdopen(write, "wb", buffering=0) as end:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield end


@pytest.mark.parametrize(("system", "typed"), [("duplex", "well hello."), ("turns", "well hello.\n")])
def test_what_is_piped_in_is_answered(
    piped: io.FileIO, system: str, typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    piped.write(typed.encode())
    piped.close()
    assert chat(Choice(), system, Slicing(), 0) == 0
    said = capsys.readouterr().out
    assert "well hello." in said and "hi you" in said
    assert "\x1b" not in said


def test_nothing_piped_in_ends_at_once(piped: io.FileIO, capsys: pytest.CaptureFixture[str]) -> None:
    piped.close()
    assert chat(Choice(), "duplex", Slicing(), 0) == 0
    assert capsys.readouterr().out.strip() == ""


def read_until(terminal: int, text: bytes) -> bytes:
    said, end = b"", time.monotonic() + LONG_PATIENCE
    while text not in said:
        assert select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0], f"no {text!r} in {said!r}"
        said += os.read(terminal, 65536)
    return said


def test_a_terminal_shows_the_line_and_ctrl_c_leaves_it_as_it_was(tmp_path: Path) -> None:
    import termios

    model = save_tiny_model(tmp_path / "model")
    terminal, inside = pty.openpty()
    before = termios.tcgetattr(inside)
    command = [sys.executable, "-m", "webapp.cli", "chat", "--model", str(model)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=inside, stdout=inside, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            read_until(terminal, b"\x1b[K> ")
            os.write(terminal, b"hello ")
            read_until(terminal, b"> hello")
            read_until(terminal, "you ▐hello▌".encode())
            process.send_signal(signal.SIGINT)
            assert process.stderr
            assert "Traceback" not in process.stderr.read()
            assert process.wait(PATIENCE) == 130
            assert termios.tcgetattr(inside) == before
        finally:
            process.kill()
            os.close(terminal)
            os.close(inside)
