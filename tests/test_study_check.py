import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.study_files import TOKEN, study_file
from webapp.study.check import problems_of
from webapp.study.command import PRESETS

BOTH = ('languages = ["en"]', 'languages = ["en", "zh"]')
SQLITE = '"sqlite:///study.db"'


def found(folder: Path, *changes: tuple[str, str], **environment: str) -> dict[str, str]:
    """Message of every problem, by key."""
    problems = problems_of(study_file(folder, *changes), TOKEN | environment)
    assert len({problem.key for problem in problems}) == len(problems), "each is told once"
    return {problem.key: problem.message for problem in problems}


@pytest.mark.parametrize("preset", ["arena", "paper"])
def test_a_study_that_is_ready_has_no_problem_in_either_language(preset: str, tmp_path: Path) -> None:
    assert problems_of(study_file(tmp_path, BOTH, preset=preset), TOKEN) == ()


def test_checking_changes_nothing(tmp_path: Path) -> None:
    found(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("min_seconds = 60", "min_seconds = 10", "tasks.min_seconds", "30 or more"),
        ("min_turns = 3", "min_turns = 1", "tasks.min_turns", "2 or more"),
        ("minutes = 25", "minutes = 10", "consent.minutes", "say at least 11"),
        ('source = ""', 'source = "prolific"', "completion.code", "without a completion code"),
        ('source = ""', 'code = "C1"\nurl = "https://example.org/?cc=C2"', "completion.url", "not contain the code C1"),
        ('speaks = ["en"]', 'speaks = ["zh"]', "speaks", "English only"),
        ('model = "embedded"', 'model = "./nowhere"', "model", "no model folder ./nowhere"),
        ('way = "typing"', 'way = "voice"', "consent.audio", "audio = true to ask them"),
        ("sessions = 3", "sessions = 7", "tasks.sheet", "a card for each of the 7 talks"),
        ("block = 4", "block = 5", "block", "multiple of the 2 orders"),
        ('["duplex", "strict"]', '["duplex", "deaf"]', "systems", "got 'deaf'"),
    ],
)
def test_what_would_go_wrong_on_the_day_is_told(tmp_path: Path, old: str, new: str, key: str, message: str) -> None:
    problems = found(tmp_path, (old, new), *[("minutes = 25", "minutes = 40")] * (key == "tasks.sheet"))
    assert list(problems) == [key]
    assert message in problems[key]


def test_what_is_still_to_be_filled_in_is_told_with_its_line() -> None:
    path = PRESETS / "arena.toml"
    (problem,) = problems_of(path, TOKEN)
    assert problem.key == "consent.contact"
    assert path.read_text(encoding="utf-8").splitlines()[problem.line - 1].startswith("contact = ")


def test_everything_is_told_at_once_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = study_file(
        tmp_path, ('title = {en = "Talking with computer programs", zh = "与计算机程序对话"}', 'title = "Talks"'),
        BOTH, ("seed = 0", 'seed = "x"'), ("min_turns = 3", "min_turns = 1"), (SQLITE, '"sqlite:///no/study.db"'),
    )  # fmt: skip
    problems = problems_of(path, {})
    assert [problem.key for problem in problems] == [
        *("title", "seed", "tasks.min_turns", "storage.database", "admin.token_env")
    ]
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)


def test_a_file_that_is_no_study_is_told(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text("name = \n")
    assert [problem.line for problem in problems_of(path, TOKEN)] == [1]


# — languages —


def test_what_is_not_translated_is_told_where_it_stands(tmp_path: Path) -> None:
    problems = found(
        tmp_path, BOTH, ('zh = "自己的故事"', 'de = "Eigene Geschichte"'), ('key = "age"', 'key = "a"\ntext = "A"')
    )
    assert list(problems) == ["tasks.sheet[6].title", "about_you.questions[1].text"]
    assert "may read zh" in problems["tasks.sheet[6].title"]
    assert 'zh = "…"' in problems["about_you.questions[1].text"]


def test_a_language_without_texts_is_told(tmp_path: Path) -> None:
    path = study_file(tmp_path, ('languages = ["en"]', 'languages = ["en", "de"]'))
    (texts,) = [problem for problem in problems_of(path, TOKEN) if problem.file.endswith("de.toml")]
    assert "there are texts in en, zh" in texts.message


def test_mistakes_in_the_study_s_own_texts_are_told(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "en.toml").write_text('[done]\nthank = "Ta!"\n')
    assert list(found(tmp_path)) == ["done.thank"]


# — token —


@pytest.mark.parametrize(("token", "said"), [("", "it is not set"), ("short", "it has 5 characters")])
def test_a_token_that_anybody_could_guess_is_told(tmp_path: Path, token: str, said: str) -> None:
    problems = found(tmp_path, DUPLEX_STUDY_TOKEN=token)
    assert list(problems) == ["admin.token_env"]
    assert said in problems["admin.token_env"]


def test_the_token_may_have_another_name(tmp_path: Path) -> None:
    assert found(tmp_path, ('"DUPLEX_STUDY_TOKEN"', '"MINE"'), MINE="0123456789abcdef") == {}
    assert "MINE" in found(tmp_path, ('"DUPLEX_STUDY_TOKEN"', '"MINE"'))["admin.token_env"]


# — database —


def test_a_database_that_is_there_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE answers (value)")
    before = file.read_bytes()
    assert found(tmp_path) == {}
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.db", "study.toml"]


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("Dear diary, " * 100)
    assert "not a database" in found(tmp_path)["storage.database"]


def test_a_database_that_others_keep_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.study.check.PATIENCE_SECONDS", 0.01)
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE answers (value)")
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in found(tmp_path)["storage.database"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///nowhere/study.db", "cannot be written to"),
        ("postgresql+psycopg://me:secret@127.0.0.1/x", "PGPASSWORD"),
        ("postgresql+nothing://me@127.0.0.1/x", "nothing"),
    ],
)
def test_a_database_that_cannot_be_used_is_told(tmp_path: Path, url: str, message: str) -> None:
    problems = found(tmp_path, (SQLITE, f'"{url}"'))
    assert list(problems) == ["storage.database"]
    assert message in problems["storage.database"]
    assert "secret" not in problems["storage.database"]


def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="needs a driver for PostgreSQL")
    problems = found(tmp_path, (SQLITE, '"postgresql+psycopg://me@127.0.0.1:1/x"'))
    assert "it cannot be reached or written to" in problems["storage.database"]


def test_a_missing_driver_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    problems = found(tmp_path, (SQLITE, '"postgresql+psycopg://me@127.0.0.1:1/x"'))
    assert "pip install 'psycopg[binary]'" in problems["storage.database"]


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert "duplex-arena[study]" in found(tmp_path)["storage.database"]


# — mirror —


@pytest.mark.parametrize("problem", ["", "it needs a token with write access: set HF_TOKEN"])
def test_a_mirror_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webapp.study.check.problem_of", lambda repo: asked.append(repo) or problem)
    assert found(tmp_path) == {} and asked == []
    told = found(tmp_path, ('# mirror = "OWNER/NAME"', 'mirror = "ann/mirror"'))
    assert told == ({"storage.mirror": problem} if problem else {}) and asked == ["ann/mirror"]
