import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_sources import write_dialogues

from duplex_runtime.alignment import build as building
from duplex_runtime.alignment.build import Build, Settings, run
from duplex_runtime.alignment.sources import Faults
from duplex_runtime.alignment.weave import Plan
from duplex_runtime.errors import BadInput

PLAN = Plan(periods=(2.0,))


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(write_dialogues(tmp_path / "talks.jsonl", 30))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "SHARD", 8)


def made(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("rows-*"))}


def rows(out: Path) -> list[Any]:
    return [json.loads(line) for data in made(out).values() for line in data.splitlines()]


def test_every_dialogue_becomes_a_row(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(Settings(source, plan=PLAN), out, stop=True, workers=2) == 0
    assert [row["id"] for row in rows(out)] == list(range(30))
    assert sorted(made(out)) == [f"rows-{i:05}.jsonl" for i in range(4)]
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["rows"], result["bad_rows"]) == (30, 0)
    about = json.loads((out / "build.json").read_text())
    assert sum(about["kinds"].values()) == 30
    assert about["pairs"] == result["pairs"] == sum(len(row["ends"]) for row in rows(out))


def test_workers_do_not_change_the_rows(source: str, tmp_path: Path) -> None:
    for workers in (1, 2):
        run(Settings(source, plan=PLAN), tmp_path / str(workers), stop=True, workers=workers)
    assert made(tmp_path / "1") == made(tmp_path / "2")


@pytest.mark.parametrize("damage", ["", "tail", "shard", "part"])
def test_a_build_that_was_stopped_ends_with_the_same_files(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(Settings(source, plan=PLAN), whole, stop=True, workers=1)
    keep, left = Build._keep, [2]

    def until_the_power_fails(self: Build, *args: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        keep(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Build, "_keep", until_the_power_fails)
        with pytest.raises(KeyboardInterrupt):
            run(Settings(source, plan=PLAN), stopped, stop=True, workers=1)
    if damage == "tail":
        with (stopped / "shards.jsonl").open("a") as file:
            file.write('{"rows": {"st')
    elif damage == "shard":
        (stopped / "rows-00001.jsonl").unlink()
    elif damage == "part":
        (stopped / ".rows-00002.jsonl.part").write_text("torn")
    run(Settings(source, plan=PLAN), stopped, stop=True, workers=1)
    assert made(whole) == made(stopped)
    assert (whole / "build.json").read_text() == (stopped / "build.json").read_text()


def test_other_settings_are_refused_in_the_same_folder(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(Settings(source, plan=PLAN), out, stop=True, workers=1)
    before = made(out)
    with pytest.raises(BadInput, match=r"was made with other settings \(plan\); give another --out"):
        run(Settings(source, plan=Plan(seed=1)), out, stop=True, workers=1)
    assert made(out) == before


def test_rows_of_something_else_are_not_overwritten(source: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows-00000.jsonl").write_text("mine")
    with pytest.raises(BadInput, match=r"there are rows without build\.json"):
        Build(Settings(source), tmp_path / "out")


def test_a_finished_build_run_again_changes_nothing(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        run(Settings(source, plan=PLAN, rows=20), out, stop=True, workers=1)
    assert len(rows(out)) == 20


def test_the_written_corpus_is_a_source(tmp_path: Path) -> None:
    run(Settings("corpus", plan=PLAN, rows=10), tmp_path / "out", stop=True, workers=1)
    talks = rows(tmp_path / "out")
    assert len(talks) == 10
    assert {row["kind"] for row in talks} == {"corpus"}
    with pytest.raises(BadInput, match="--rows: expected how many"):
        Build(Settings("corpus"), tmp_path / "other")


def test_talks_may_be_left_turn_based(source: str, tmp_path: Path) -> None:
    run(Settings(source, turns=True, rows=3), tmp_path / "out", stop=True, workers=1)
    first = rows(tmp_path / "out")[0]
    assert first["ends"] == [True, True]
    assert first["output"][0]["content"] == "Can you please tell me all about the topic number 0 in its part 0?"


def test_a_source_without_a_dialogue_is_told(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    path.write_text("[]\n")
    with pytest.raises(BadInput, match="expected at least one dialogue, found none"):
        Build(Settings(str(path)), tmp_path / "out").run(Faults(stop=False), {}, 1)


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_the_folder_opens_with_datasets(source: str, tmp_path: Path, format_: str) -> None:
    """In a process of its own: the library asks the environment only when it is imported, and leaves threads."""
    out = tmp_path / "out"
    run(Settings(source, plan=PLAN, format=format_), out, stop=True, workers=1)
    kind = {"jsonl": "json", "parquet": "parquet"}[format_]
    code = (
        "from datasets import load_dataset\n"
        f"rows = load_dataset({kind!r}, data_files={str(out / f'rows-*.{format_}')!r}, split='train')\n"
        "print(len(rows), rows[0]['output'][1]['role'], rows.column_names)"
    )
    home = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    shown = subprocess.run([sys.executable, "-c", code], env=home, capture_output=True, text=True, check=True)
    assert shown.stdout.split(" ", 2)[:2] == ["30", "assistant"]
    assert all(name in shown.stdout for name in ("id", "kind", "output", "weights", "ends"))


def test_talks_that_are_in_slices_stay_as_they_are_among_dialogues(source: str, tmp_path: Path) -> None:
    output = [
        *({"role": "user", "content": "hi there."}, {"role": "assistant", "content": "hello"}),
        *({"role": "user", "content": "no wait"}, {"role": "assistant", "content": "<idle>"}),
    ]
    sliced = json.dumps({"output": output, "weights": [1.0, 0.0], "ends": [False, False]})
    lines = Path(source).read_text().splitlines()[:4]
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("\n".join([*lines[:2], sliced, *lines[2:], sliced]) + "\n")
    for turns in (False, True):
        out = tmp_path / str(turns)
        out.mkdir()
        settings = Settings(str(mixed), plan=Plan(periods=(2.0,), shares=(("uninterrupted", 1.0),)), turns=turns)
        talks = list(building.read(str(mixed), Faults(stop=True)))
        counts = building.make_shard(0, 10, talks, settings, {}, out)
        found = rows(out)
        assert [row["id"] for row in found] == list(range(10, 16)) and counts.rows["sliced"] == 2
        assert found[2] | {"id": 15} == found[5]
        assert found[2] == {"id": 12, "kind": "sliced", "output": output, "weights": [1.0, 0.0], "ends": [False, False]}
        assert found[0]["kind"] == ("turns" if turns else "uninterrupted")
