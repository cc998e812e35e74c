import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duplex_runtime.errors import BadInput, DuplexError
from tests.study_exports import LEFT, NASTY, SHY, Crowd, csv_of, jsonl_of, parquet_of
from tests.study_files import study as study_of
from webapp.study.database import Database
from webapp.study.dictionary import tables_of
from webapp.study.export import Options, changed, export, is_export, manifest_of, neutral

HEADER = {"kind": "header", "system": "duplex", "format": 1, "model": "/home/ann/models/mini", "session": "abc"}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """Nobody changes it; every talk has a recording and a voice."""
    crowd = Crowd(tmp_path_factory.mktemp("crowd"))
    crowd.study.recordings.mkdir()
    for visitor in (crowd.open, crowd.shy, crowd.stopped, crowd.excluded):
        for talk in crowd.talks(visitor):
            log = crowd.study.recordings / talk.recording
            lines = [HEADER | {"session": log.stem}, {"kind": "due", "system": "duplex", "at": 1.0}]
            log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "in', encoding="utf-8")
            for voice in (log.with_suffix(".wav"), log.with_suffix(".2.wav")):
                voice.write_bytes(b"RIFF" + voice.name.encode())
    yield crowd
    crowd.close()


@pytest.fixture(scope="module")
def public(crowd: Crowd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(crowd.study, crowd.database, tmp_path_factory.mktemp("out") / "public", Options(talks=True)).folder


@pytest.fixture(scope="module")
def everything(crowd: Crowd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "all"
    return export(crowd.study, crowd.database, out, Options("all", talks=True)).folder


def who(folder: Path) -> set[str]:
    return {row["participant"] for row in jsonl_of(folder, "participants")}


def contents(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


# — who is in it —


def test_a_public_export_has_only_who_agreed_to_that(crowd: Crowd, public: Path) -> None:
    assert who(public) == {crowd.open.id, crowd.stopped.id}
    for table in tables_of(crowd.study):
        assert {row["participant"] for row in jsonl_of(public, table.name)} <= who(public)


def test_an_export_of_all_has_everybody_who_consented(crowd: Crowd, everything: Path) -> None:
    assert who(everything) == {crowd.open.id, crowd.shy.id, crowd.stopped.id, crowd.excluded.id}
    fates = {row["participant"]: (row["fate"], row["detail"]) for row in jsonl_of(everything, "participants")}
    assert fates[crowd.excluded.id] == ("excluded", "a colleague")
    assert fates[crowd.stopped.id] == ("unfinished", "stopped at rate-1")


def test_no_export_has_what_names_somebody(crowd: Crowd, public: Path, everything: Path) -> None:
    with crowd.database.reading() as session:
        from sqlalchemy import select

        from webapp.study.database import Participant

        hashes = list(session.scalars(select(Participant.token_hash)))
    secret = [*hashes, "prolific-", "Mozilla", "9876543210", "hidden words", LEFT, crowd.withdrawn.id, crowd.looker.id]
    secret += [talk.recording[:-6] for talk in crowd.talks(crowd.open)] + ["/home/ann"]
    for folder in (public, everything):
        for name, data in contents(folder).items():
            if not name.endswith(".wav"):  # their bytes are the test's
                assert not [word for word in secret if word.encode() in data], name
    for name, data in contents(public).items():
        assert SHY.encode() not in data and crowd.shy.id.encode() not in data and b"colleague" not in data, name
    assert any(SHY.encode() in data for data in contents(everything).values())


def test_voices_are_there_only_of_who_agreed_to_both(crowd: Crowd, public: Path, everything: Path) -> None:
    parts = [f"{p}-{s}-1" for p in (1, 2) for s in (1, 2)]
    logs = {f"{crowd.open.id}-{part}.jsonl" for part in parts} | {f"{crowd.stopped.id}-1-{s}-1.jsonl" for s in (1, 2)}
    found = {file.name for file in (public / "talks").iterdir()}
    assert {name for name in found if name.endswith(".jsonl")} == logs
    assert {name for name in found if name.endswith(".wav")} == {
        name.replace(".jsonl", end) for name in logs for end in (".wav", ".2.wav")
    }
    voices = {file.name for file in (everything / "talks").glob("*.wav")}
    assert not [name for name in voices if name.startswith(crowd.shy.id)]
    first = crowd.talks(crowd.open)[0].recording.replace(".jsonl", ".2.wav")
    assert (public / "talks" / f"{crowd.open.id}-1-1-1.2.wav").read_bytes() == b"RIFF" + first.encode()


def test_a_recording_keeps_all_but_the_names_in_its_header(crowd: Crowd, public: Path) -> None:
    name = f"{crowd.open.id}-1-1-1"
    before = (crowd.study.recordings / crowd.talks(crowd.open)[0].recording).read_bytes().split(b"\n")
    after = (public / "talks" / f"{name}.jsonl").read_bytes().split(b"\n")
    assert after[1:] == before[1:]
    assert json.loads(after[0]) == HEADER | {"session": name, "model": "mini"}


@pytest.mark.parametrize("line", [b'"header"', b'{"text": "header"}\n', b'["header"]\n', b'{"kind": "header"', b"\xff"])
def test_other_lines_stay_as_they_are(line: bytes) -> None:
    assert neutral(line, "p-1") == line


# — tables —


def test_the_three_formats_say_the_same(crowd: Crowd, everything: Path) -> None:
    for table in tables_of(crowd.study):
        lines = jsonl_of(everything, table.name)
        assert lines == parquet_of(everything, table.name), table.name
        assert len(lines) == len(csv_of(everything, table.name)) > 0, table.name
        assert list(lines[0]) == list(csv_of(everything, table.name)[0]) == [c.name for c in table.columns]


def test_a_formula_is_none_in_csv_and_the_text_is_kept_elsewhere(crowd: Crowd, public: Path) -> None:
    def of(rows: list[dict[str, Any]]) -> list[Any]:
        return [row["comment"] for row in rows if row["participant"] == crowd.open.id and row["position"] in (1, "1")]

    assert of(jsonl_of(public, "ratings")) == of(parquet_of(public, "ratings")) == [NASTY]
    assert of(csv_of(public, "ratings")) == [f"'{NASTY}"]
    (answer,) = [row["value"] for row in csv_of(public, "answers") if row["item"] == "comment"]
    assert answer == f"'{NASTY}"


def test_the_same_data_give_the_same_bytes(crowd: Crowd, public: Path, tmp_path: Path) -> None:
    again = export(crowd.study, crowd.database, tmp_path / "again", Options(talks=True)).folder
    assert contents(again) == contents(public)


def test_only_the_formats_that_are_asked_for(crowd: Crowd, tmp_path: Path) -> None:
    out = export(crowd.study, crowd.database, tmp_path / "out", Options(formats=("csv",))).folder
    assert {path.name for path in out.iterdir()} == {
        *("csv", "README.md", "dictionary.md", "dictionary.json", "dictionary.csv", "export.json", "checksums.sha256")
    }
    assert "csv/ratings.csv" in (out / "README.md").read_text(encoding="utf-8")


def test_a_study_in_which_nobody_has_been(tmp_path: Path) -> None:
    study = study_of(tmp_path / "study")
    database = Database(study.database_url)
    done = export(study, database, tmp_path / "out", Options(rows=True, talks=True))
    database.close()
    assert (done.participants, done.talks) == (0, 0)
    assert all(parquet_of(done.folder, table.name) == [] for table in tables_of(study))


# — the folder —


def test_sums_are_right_and_tell_what_was_changed(public: Path, tmp_path: Path) -> None:
    lines = (public / "checksums.sha256").read_text().splitlines()
    sums = {line[66:]: line[:64] for line in lines}
    assert sums == {
        name: hashlib.sha256(data).hexdigest() for name, data in contents(public).items() if name != "checksums.sha256"
    }
    copy = tmp_path / "copy"
    shutil.copytree(public, copy)
    assert changed(copy) == []
    (copy / "csv" / "notes.csv").write_text("x")
    (copy / "csv" / "about.csv").unlink()
    (copy / "new").touch()
    assert changed(copy) == ["csv/about.csv", "csv/notes.csv", "new"]


def test_an_earlier_export_is_replaced_and_nothing_else_ever(crowd: Crowd, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(crowd.study, crowd.database, out, Options(talks=True))
    export(crowd.study, crowd.database, out, Options(formats=("jsonl",)))
    assert not (out / "talks").exists() and is_export(out) and changed(out) == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="expected a new folder or an earlier export"):
        export(crowd.study, crowd.database, mine, Options())
    manifest = manifest_of(out) | {"study": "other"}
    (out / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="it holds an export of other"):
        export(crowd.study, crowd.database, out, Options())
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_what_cannot_be_written_whole_is_not_there(
    crowd: Crowd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export(crowd.study, crowd.database, out, Options())
    before = contents(out)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("webapp.study.export._describe", full)
    with pytest.raises(DuplexError, match="could not be written: No space left on device"):
        export(crowd.study, crowd.database, out, Options(talks=True))
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_earlier_export_comes_back_if_the_new_one_cannot_take_its_place(
    crowd: Crowd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export(crowd.study, crowd.database, out, Options())
    before, rename = contents(out), Path.rename

    def stuck(path: Path, target: Path) -> Path:
        if path.name.startswith(".out-") and not path.name.endswith("-before"):
            raise OSError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stuck)
    with pytest.raises(DuplexError, match="Permission denied"):
        export(crowd.study, crowd.database, out, Options(talks=True))
    assert contents(out) == before and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"audience": "world"}, "public or all"),
        ({"formats": ("csv", "xlsx")}, "--format: expected some of csv, parquet, jsonl"),
        ({"formats": ()}, "--format"),
        ({"formats": ("csv", "csv")}, "each once"),
        ({"min_overall": 8}, "--min-overall: expected a rating from 1 to 7"),
    ],
)
def test_options_that_make_no_sense_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Options(**values)


def test_a_bound_needs_the_scale(tmp_path: Path) -> None:
    study = study_of(tmp_path / "study", ('"human_likeness", "overall"]', '"human_likeness"]'))
    database = Database(study.database_url)
    with pytest.raises(BadInput, match="people do not rate overall"):
        export(study, database, tmp_path / "out", Options(rows=True, min_overall=5))
    database.close()


def test_what_is_no_export_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected an export; make one with"):
        manifest_of(tmp_path)
