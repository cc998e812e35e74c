from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.models.load import EMBEDDED_FOLDER
from webapp import doctor
from webapp.cli import main
from webapp.doctor import BROKEN, OFF, SUMS, WORKS, Check, guarded, runs, sha256, table
from webapp.settings import Settings


def only(checks: Iterator[Check]) -> Check:
    (check,) = checks
    return check


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if these were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in modules else find(name, *a))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", port=0)


# — what is told —

GOOD = Check("Python", WORKS, "3.11")
MISSING = Check("ears", OFF, "none", "install them")
FATAL = Check("port", BROKEN, "in use", "choose another", vital=True)


def test_the_table_has_a_mark_for_each_and_what_to_do() -> None:
    assert table([GOOD, MISSING, FATAL]).splitlines() == [
        "✓ Python  3.11",
        "– ears    none",
        "          do this: install them",
        "✗ port    in use",
        "          do this: choose another",
    ]


def test_only_what_the_demo_needs_keeps_it_from_running() -> None:
    assert runs([GOOD, MISSING, Check("GPU", BROKEN, "the driver is broken")])
    assert not runs([GOOD, FATAL])


@pytest.mark.parametrize(("error", "told"), [(ValueError("no\nsense"), "ValueError: no sense"), (BadInput("so"), "so")])
def test_a_check_that_raises_is_shown_with_its_reason_and_what_it_found_before(
    error: Exception, told: str, settings: Settings
) -> None:
    def look(_: Settings) -> Iterator[Check]:
        yield GOOD
        raise error

    assert list(guarded("ears", look, False, settings)) == [GOOD, Check("ears", BROKEN, told)]
    assert list(guarded("ears", look, True, settings))[1].vital


# — the checks —


def test_the_weights_that_ship_are_those_of_the_sums() -> None:
    """After another training: sha256sum, in duplex_runtime/models/embedded."""
    assert {name: sha256(EMBEDDED_FOLDER / name) for name in SUMS} == SUMS
    shipped = {str(path.relative_to(EMBEDDED_FOLDER)) for path in EMBEDDED_FOLDER.rglob("*.safetensors")}
    assert shipped <= set(SUMS)


def test_weights_that_were_cut_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    for name in SUMS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((EMBEDDED_FOLDER / name).read_bytes())
    monkeypatch.setattr("duplex_runtime.models.load.EMBEDDED_FOLDER", tmp_path)
    assert only(doctor.weights(settings)).state == WORKS
    (tmp_path / "turns/model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    (tmp_path / "tokenizer.json").unlink()
    check = only(doctor.weights(settings))
    assert (check.state, check.vital) == (BROKEN, True)
    assert "turns/model.safetensors" in check.found and "tokenizer.json" in check.found
    assert "duplex/" not in check.found


def test_a_real_slice_is_computed_and_timed(settings: Settings) -> None:
    check = only(doctor.slice_time(settings))
    assert check.state in (WORKS, OFF)
    assert "ms with 10 tokens" in check.found


def test_packages_are_held_against_what_is_allowed_and_what_is_pinned(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    installed = {"numpy": "2.1", "torch": "2.13.0+cpu", "httpx": "0.28.1"}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    wanted = ["numpy>=2.0", "torch>=2.6", "httpx>=0.27", 'scipy>=1; extra == "study"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: wanted)
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(doctor, "pinned", lambda: {"numpy": "2.1", "torch": "2.13.0", "httpx": "0.28.1"})
    assert only(doctor.packages(settings)) == Check("packages", WORKS, "3, as in constraints.txt")
    monkeypatch.setattr(doctor, "pinned", dict)
    assert only(doctor.packages(settings)).found == "3, in the allowed versions"
    monkeypatch.setattr(doctor, "pinned", lambda: {"numpy": "2.4"})
    other = only(doctor.packages(settings))
    assert (other.state, other.vital) == (OFF, False)
    assert "numpy 2.1 (checked with 2.4)" in other.found
    installed["numpy"] = "1.26"
    del installed["httpx"]
    old = only(doctor.packages(settings))
    assert (old.state, old.vital) == (BROKEN, True)
    assert "numpy 1.26 (expected >=2.0)" in old.found and "httpx" in old.found


def test_the_pins_of_a_checkout_are_read() -> None:
    assert doctor.pinned()["prometheus-client"]


def test_ears_and_voices_that_are_not_installed_say_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    without(monkeypatch, "faster_whisper", "pocketsphinx", "espeakng_loader", "TTS")
    ears = only(doctor.ears(settings))
    assert ears.state == OFF and "duplex-arena[voice]" in ears.todo
    voices = {check.name: check for check in doctor.voices(settings)}
    assert voices["eSpeak NG"].state == voices["Coqui TTS"].state == OFF
    assert "duplex-arena[coqui]" in voices["Coqui TTS"].todo
    assert voices["browser voices"].state == WORKS


def test_ears_and_voices_that_are_here_are_tried(settings: Settings) -> None:
    pytest.importorskip("faster_whisper")
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("espeakng_loader")
    ears = {check.name: check for check in doctor.ears(settings)}
    assert ears["ears"].state == WORKS
    assert "--ears whisper" in ears["Whisper"].todo or ears["Whisper"].state == WORKS
    voice = next(iter(doctor.voices(settings)))
    assert (voice.name, voice.state) == ("eSpeak NG", WORKS)


@pytest.mark.parametrize(("host", "state"), [("127.0.0.1", WORKS), ("::1", WORKS), ("0.0.0.0", OFF)])
def test_the_microphone_needs_this_machine_or_https(host: str, state: str) -> None:
    check = only(doctor.microphone(Settings(host=host, port=7861)))
    assert check.state == state
    assert not check.vital
    if state == OFF:
        assert "https" in check.found and "ssh -L 7861:localhost:7861" in check.todo


def test_a_port_in_use_keeps_the_demo_from_running(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in ("Python", "port", "data folder")})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["doctor", "--port", port, "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"✗ port         port {port} is in use" in said
    assert "cannot run here yet" in said
    assert main(["doctor", "--port", port, "--data", str(tmp_path)]) == 0
    assert "The demo runs here" in capsys.readouterr().out


def test_a_data_folder_is_tried_where_it_is_or_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = only(doctor.data(Settings(data=tmp_path / "a" / "b")))
    assert check.state in (WORKS, OFF) and str(tmp_path / "a" / "b") in check.found
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("in the way")
    broken = only(doctor.data(Settings(data=tmp_path / "file")))
    assert (broken.state, broken.vital) == (BROKEN, True)
    assert "--data" in broken.todo

    class Usage:
        free = 1000

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage)
    assert only(doctor.data(Settings(data=tmp_path))).state == OFF


def test_the_study_and_llama_cpp_are_extras(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    without(monkeypatch, "alembic", "psycopg", "llama_cpp")
    checks = {check.name: check for look in (doctor.study, doctor.engines) for check in look(settings)}
    assert [check.state for check in checks.values()] == [OFF] * 3
    assert "alembic" in checks["user study"].found
    assert all("pip install" in check.todo for check in checks.values())


def test_programs_of_the_tests_are_information_only(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v99\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DUPLEX_CHROMIUM", raising=False)
    assert list(doctor.for_tests(settings)) == [
        Check("Node.js", WORKS, "v99"),
        Check(
            "Chromium", OFF, "not found; only tests need it", "make test installs one; it is for the tests of the page"
        ),
    ]


def test_a_gpu_is_told_with_its_memory(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (20e9, 80e9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    assert only(doctor.graphics(settings)) == Check("GPU", WORKS, "Card, 20.0 of 80.0 GB free")


# — the command —


def test_everything_is_looked_at_and_told_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SLOW_SECONDS", 60.0)
    assert main(["doctor", "--json", "--port", "0", "--data", str(tmp_path / "data")]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["runs"] is True
    states = {check["name"]: check["state"] for check in told["checks"]}
    assert {
        "Python", "packages", "processor", "GPU", "weights", "a slice", "ears", "eSpeak NG", "microphone", "port",
        "data folder", "user study", "PostgreSQL driver", "llama.cpp", "Node.js", "Chromium",
    } <= set(states)  # fmt: skip
    assert not [name for name, state in states.items() if state == BROKEN]
