import argparse
import os
import re
from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput, DuplexError
from tests.study_files import TOKEN, study_file
from webapp.study.command import PRESETS, add_commands, new_study
from webapp.study.definition import Study


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="duplex study")
    add_commands(parser.add_subparsers(required=True))
    parsed = parser.parse_args(arguments)
    return int(parsed.run(parsed))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in TOKEN:
        monkeypatch.delenv(name, raising=False)


# — new —


@pytest.mark.parametrize("preset", ["arena", "paper"])
def test_new_writes_a_study_that_has_its_folder_s_name(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("new", "pilot-1", "--preset", preset) == 0
    said = capsys.readouterr().out
    assert "duplex study check pilot-1" in said and "FILL IN" in said
    written = Study.read(Path("pilot-1"))
    assert (written.name, written.protocol) == ("pilot-1", preset)


def test_every_study_has_a_seed_of_its_own() -> None:
    seeds = {Study.read(new_study(Path(f"study-{number}"), "arena")).seed for number in range(20)}
    assert len(seeds) == 20


def test_the_rest_of_the_file_is_the_preset() -> None:
    written = new_study(Path("pilot"), "arena").read_text(encoding="utf-8").splitlines()
    preset = (PRESETS / "arena.toml").read_text(encoding="utf-8").splitlines()
    changed = [old for old, new in zip(preset, written, strict=True) if old != new]
    assert changed == ['name = "my-study"', "seed = 0"]


@pytest.mark.parametrize("preset", ["arena", "paper"])
def test_every_key_of_a_preset_has_a_comment_and_every_line_fits(preset: str) -> None:
    lines = (PRESETS / f"{preset}.toml").read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 120
    table = ""
    bare = []
    for number, line in enumerate(lines):
        if header := re.match(r"\[+([a-z_.]+)\]", line):
            table = header[1]
        elif (key := re.match(r"([a-z_]+) =", line)) and table not in ("tasks.sheet", "about_you.questions"):
            above = number - 1
            while re.match(r"[a-z_]+ =", lines[above]):  # two keys may share a comment
                above -= 1
            if not lines[above].startswith("# "):
                bare.append(f"{table}.{key[1]}")
    assert not bare


@pytest.mark.parametrize("preset", ["arena", "paper"])
def test_what_is_commented_out_can_be_put_in(preset: str) -> None:
    path = new_study(Path("pilot"), preset)
    text = path.read_text(encoding="utf-8").replace("FILL IN", "C1").replace("# audio", "#audio")
    offered = re.compile(r"^# (?=\[\[|[a-z_]+ = |  \{|\])", re.MULTILINE)
    assert len(offered.findall(text)) >= 4
    path.write_text(offered.sub("", text), encoding="utf-8")
    study = Study.read(path)
    assert study.consent.payment and study.consent.text
    assert study.completion.url.endswith("cc=C1") and study.completion.code == "C1"
    assert ("typing" in [question.key for question in study.about_you.questions]) == (preset == "arena")


def test_nothing_is_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    path = new_study(Path("pilot"), "arena")
    path.write_text("mine")
    with pytest.raises(BadInput, match="stays as it is"):
        run("new", "pilot")
    assert path.read_text() == "mine"
    assert not capsys.readouterr().out


def test_a_folder_that_is_there_already_is_used() -> None:
    Path("pilot").mkdir()
    Path("pilot", "notes.txt").write_text("mine")
    assert new_study(Path("pilot"), "arena").is_file()
    assert Path("pilot", "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["My Study", "Größe", "a" * 41, "-pilot", "pilot.1"])
def test_a_name_that_fits_into_no_address_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="small letters"):
        new_study(Path(name), "arena")
    assert not Path(name).exists()


def test_a_folder_that_cannot_be_made_is_told() -> None:
    Path("file").write_text("x")
    with pytest.raises(DuplexError, match="cannot write"):
        new_study(Path("file", "pilot"), "arena")


def test_an_unknown_preset_ends_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("new", "pilot", "--preset", "chess")
    assert "arena" in capsys.readouterr().err


# — check —


def test_check_of_a_new_study_names_what_is_to_be_filled_in(capsys: pytest.CaptureFixture[str]) -> None:
    run("new", "pilot")
    capsys.readouterr()
    assert run("check", "pilot") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines[:-1]] == ["consent.contact", "admin.token_env"]
    assert all(line.startswith(f"pilot{os.sep}study.toml line ") for line in lines[:-1])
    assert lines[-1] == "2 to put right."


def test_check_of_a_study_that_is_ready_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in TOKEN.items():
        monkeypatch.setenv(name, value)
    assert run("check", str(study_file(tmp_path / "pilot"))) == 0
    assert capsys.readouterr().out == "Nothing is wrong: people may come.\n"


def test_check_of_nothing_says_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "nowhere") == 1
    assert "duplex study new NAME" in capsys.readouterr().out
