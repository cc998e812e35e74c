from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tests.study_files import study, study_file
from webapp.study.command import PRESETS
from webapp.study.definition import BUILT_IN, PAPER_SCALES, SYSTEMS, Study
from webapp.study.reader import Refused


def test_a_study_is_read_from_its_folder_and_from_its_file(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    assert Study.read(path) == Study.read(tmp_path)


def test_the_presets_are_what_they_say() -> None:
    arena, paper = Study.read(PRESETS / "arena.toml"), Study.read(PRESETS / "paper.toml")
    assert (arena.protocol, arena.systems, arena.block) == ("arena", ("duplex", "strict"), 4)
    assert (arena.compare.preference, arena.compare.guess, arena.ratings.attention) == (True, True, 2)
    assert (paper.protocol, paper.tasks.sessions, paper.ratings.scales) == ("paper", 5, PAPER_SCALES)
    assert (paper.compare.preference, paper.compare.guess, paper.ratings.attention) == (False, False, 0)
    assert paper.way == "voice"
    assert all(card.first for card in paper.tasks.sheet)


def test_what_a_file_leaves_out_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    sheet = "".join(f'[[tasks.sheet]]\nkey = "{key}"\ntitle = "t"\ntext = "t"\n' for key in "abc")
    path.write_text(f'name = "small"\ntitle = "Small"\n[consent]\ncontact = "Ann"\n{sheet}')
    small = Study.read(path)
    assert small.systems == ("duplex", "strict")
    assert small.block == 4
    assert small.ratings.scales == PAPER_SCALES
    assert small.about_you.questions == ()
    assert small.storage.database == "sqlite:///study.db"
    assert small.storage.mirror == ""
    assert small.exclude.attention_failed == 2


def test_mistakes_are_raised_all_together(tmp_path: Path) -> None:
    path = study_file(tmp_path, ("sessions = 3", "sessions = 0"), ('way = "typing"', 'way = "telepathy"'))
    with pytest.raises(Refused) as caught:
        Study.read(path)
    assert [problem.key for problem in caught.value.problems] == ["way", "tasks.sessions"]
    assert str(caught.value).count("\n") == 1


def test_a_study_does_not_change(tmp_path: Path) -> None:
    with pytest.raises(FrozenInstanceError):
        study(tmp_path).seed = 1  # type: ignore[misc]


def test_a_relative_database_is_in_the_study_s_folder(tmp_path: Path) -> None:
    one = study(tmp_path / "one")
    assert one.database_url == f"sqlite:///{(tmp_path / 'one' / 'study.db').resolve()}"
    two = study(tmp_path / "two", ('"sqlite:///study.db"', '"sqlite:////srv/two.db"'))
    assert two.database_url == "sqlite:////srv/two.db"
    three = study(tmp_path / "three", ('"sqlite:///study.db"', '"postgresql://me@host/three"'))
    assert three.database_url == "postgresql://me@host/three"
    assert one.recordings == tmp_path / "one" / "recordings"


def test_cards_are_found_by_key(tmp_path: Path) -> None:
    tasks = study(tmp_path).tasks
    assert tasks.card("story").title.of("en") == "A story of your own"
    with pytest.raises(KeyError):
        tasks.card("nothing")


def test_questions_with_words_of_ours_can_be_asked() -> None:
    assert set(BUILT_IN) == {"age", "gender", "education", "english", "assistants", "voice_assistants"}
    assert all(len(question.options) > 1 for question in BUILT_IN.values() if question.kind == "choice")
    assert len(SYSTEMS) == len(set(SYSTEMS)) == 3
