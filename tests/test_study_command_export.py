import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput
from tests.hub_fakes import FakeHub, Repo
from tests.study_exports import LEFT, SHY, Crowd, jsonl_of
from tests.study_files import study_file
from webapp.study.command_export import add_commands


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="duplex study")
    add_commands(parser.add_subparsers(required=True))
    parsed = parser.parse_args(arguments)
    return int(parsed.run(parsed))


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    crowd = Crowd(tmp_path / "crowd")
    yield crowd
    crowd.close()


def test_a_study_is_exported_for_others_and_for_oneself(crowd: Crowd, capsys: pytest.CaptureFixture[str]) -> None:
    folder = crowd.study.folder
    assert run("export", str(folder)) == 0
    assert f"{folder / 'export'}: 2 participants, 6 talks" in capsys.readouterr().out
    assert run("export", str(folder / "study.toml"), "--all", "--format", "jsonl, csv", "--talks") == 0
    assert "Not for publication" in capsys.readouterr().out
    assert len(jsonl_of(folder / "export-all", "participants")) == 4
    assert not (folder / "export-all" / "parquet").exists() and (folder / "export-all" / "talks").is_dir()


def test_an_export_in_which_nobody_is_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", str(study_file(tmp_path / "study").parent)) == 0
    assert "Nobody agreed to publishing: --all exports everybody" in capsys.readouterr().out


def test_training_data_are_told_with_what_is_left_out(
    crowd: Crowd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", str(crowd.study.folder), "--min-overall", "5", "--out", str(tmp_path / "out")) == 0
    said = capsys.readouterr().out
    assert "training data: 0 rows, 0 dialogues" in said and "left out, not rated 5 or more: 6" in said
    assert (tmp_path / "out" / "rows" / "rows.jsonl").is_file()


def test_the_list_has_no_contents(crowd: Crowd, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", str(crowd.study.folder)) == 0
    said = capsys.readouterr().out
    assert crowd.open.id in said and "6 participants of my-study" in said
    assert LEFT not in said and SHY not in said


def test_a_participant_is_deleted_and_what_is_left_is_said(crowd: Crowd, capsys: pytest.CaptureFixture[str]) -> None:
    folder = crowd.study.folder
    run("export", str(folder))
    capsys.readouterr()
    assert run("delete", str(folder), crowd.open.id) == 1
    said = capsys.readouterr().out
    assert f"{crowd.open.id}: deleted" in said and f"left: {folder / 'export'}: an export that has them" in said
    assert run("export", str(folder)) == 0
    assert run("delete", str(folder), crowd.open.id) == 0  # again, to be sure
    assert "left" not in capsys.readouterr().out
    with pytest.raises(BadInput, match="see `duplex study list`"):
        run("delete", str(folder), "p-nobody")


def test_an_export_is_pushed(crowd: Crowd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    hub, folder, token = FakeHub(), crowd.study.folder, False
    monkeypatch.setattr("webapp.study.push.api_of", lambda: hub)
    monkeypatch.setattr("webapp.study.push.has_token", lambda: token)
    with pytest.raises(BadInput, match="make one with duplex study export PATH"):
        run("push", str(folder), "--repo", "ann/study")
    run("export", str(folder))
    assert run("push", str(folder), "--repo", "ann/study", "--dry-run") == 0
    assert run("push", str(folder), "--repo", "ann/study") == 1
    assert "There is no token: set HF_TOKEN" in capsys.readouterr().out and hub.repos == {}
    token = True
    assert run("push", str(folder), "--repo", "ann/study", "--export", str(folder / "export")) == 0
    assert "https://huggingface.co/datasets/ann/study" in capsys.readouterr().out
    assert json.loads(hub.repos["ann/study"].files["export.json"])["audience"] == "public"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "nowhere"), "nowhere"),
        (("export", "STUDY", "--format", "xlsx"), "--format: expected some of csv, parquet, jsonl"),
        (("export", "STUDY", "--min-overall", "9"), "--min-overall: expected a rating from 1 to 7"),
        (("push", "STUDY", "--repo", "mine"), "OWNER/NAME"),
    ],
)
def test_what_cannot_be_is_said(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    folder = str(study_file(tmp_path / "study").parent)
    with pytest.raises(BadInput, match=said):
        run(*(folder if argument == "STUDY" else argument for argument in arguments))


def test_help_needs_no_heavy_library() -> None:
    code = "import webapp.study.command_export, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "pyarrow", "numpy", "sqlalchemy", "torch", "huggingface_hub"} & set(done.stdout.split())


def test_who_is_only_in_the_mirror_is_deleted_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = FakeHub()
    monkeypatch.setattr("webapp.study.mirror.api_of", lambda: hub)
    folder = str(study_file(tmp_path / "study", ('# mirror = "OWNER/NAME"', 'mirror = "ann/mirror"')).parent)
    hub.repos["ann/mirror"] = Repo(files={"journals/p-abcdefgh.jsonl": b'{"recording": "a.jsonl"}\n'})
    hub.repos["ann/mirror"].files["recordings/a.jsonl"] = b"words"
    with pytest.raises(BadInput, match="no participant 'p-nobody'"):
        run("delete", folder, "p-nobody")
    assert run("delete", folder, "p-abcdefgh") == 0
    assert "deleted 0 rows and 0 files here, and what was in ann/mirror" in capsys.readouterr().out
    assert hub.ever("ann/mirror") == set()
