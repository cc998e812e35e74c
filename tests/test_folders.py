from pathlib import Path

import pytest

from webapp import folders
from webapp.folders import data_folder, lasts, on_storage, settle, writable

CACHES = ("HF_HOME", "MPLCONFIGDIR", "GRADIO_TEMP_DIR")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder, and a working folder that is empty."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "tmp"


@pytest.fixture
def no_home(tmp_path: Path) -> str:
    """A home in which nothing can be made, not even by root."""
    (tmp_path / "file").write_text("in the way")
    return str(tmp_path / "file")


# — caches —


def test_a_home_that_can_be_written_changes_nothing(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path / "home")}
    assert settle(environment) == []
    assert environment == {"HOME": str(tmp_path / "home")}


def test_a_home_that_cannot_be_written_moves_the_caches_and_says_so(no_home: str, temporary: Path) -> None:
    environment = {"HOME": no_home}
    said = settle(environment)
    assert {name for name in CACHES if name in environment} == {"HF_HOME", "MPLCONFIGDIR"}
    assert len(said) == 2
    for line, name in zip(said, ("HF_HOME", "MPLCONFIGDIR"), strict=True):
        assert environment[name].startswith(str(temporary))
        assert writable(Path(environment[name]))
        assert name in line and environment[name] in line and no_home in line


def test_a_folder_that_a_person_chose_is_kept_if_it_can_be_written(no_home: str, tmp_path: Path) -> None:
    chosen = {name: str(tmp_path / name) for name in CACHES}
    environment = {"HOME": no_home} | chosen
    assert settle(environment) == []
    assert chosen.items() <= environment.items()


def test_a_chosen_folder_that_is_not_there_is_replaced(no_home: str, tmp_path: Path) -> None:
    """HF_HOME=/data/… of a Space whose storage was taken away."""
    environment = {"HOME": str(tmp_path), "HF_HOME": f"{no_home}/.huggingface"}
    [line] = settle(environment)
    assert f"{no_home}/.huggingface cannot be written" in line
    assert writable(Path(environment["HF_HOME"]))


def test_caches_follow_the_folders_of_the_desktop_standard(no_home: str, tmp_path: Path) -> None:
    environment = {"HOME": no_home, "XDG_CACHE_HOME": str(tmp_path / "c"), "XDG_CONFIG_HOME": str(tmp_path / "d")}
    assert settle(environment) == []


# — data —


def test_off_a_space_data_are_where_the_server_was_started(tmp_path: Path) -> None:
    assert data_folder({}, tmp_path) == Path("data")
    assert not Path("data").exists()


def test_what_a_person_chose_is_used_as_it_is(no_home: str) -> None:
    assert data_folder({"SPACE_ID": "ann/arena", "DUPLEX_DATA": no_home}) == Path(no_home)


def test_a_space_uses_its_storage(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    assert data_folder({"SPACE_ID": "ann/arena"}, storage) == Path("data")
    assert not storage.exists(), "a Space without storage must not pretend to have one"
    storage.mkdir()
    assert data_folder({"SPACE_ID": "ann/arena"}, storage) == storage


def test_a_space_whose_own_folder_cannot_be_written_uses_the_temporary_one(no_home: str, temporary: Path) -> None:
    Path("data").write_text("in the way")
    folder = data_folder({"SPACE_ID": "ann/arena"}, Path(no_home))
    assert folder.is_relative_to(temporary)
    assert writable(folder)


def test_only_what_is_on_the_storage_lasts(tmp_path: Path) -> None:
    assert lasts(tmp_path / "a" / "data", [tmp_path / "a"])
    assert not lasts(tmp_path / "ab" / "data", [tmp_path / "a"])
    assert not lasts(Path("data"), [tmp_path / "a"])


def test_a_study_moves_to_the_storage_and_finds_its_answers_again(tmp_path: Path) -> None:
    study, storage = tmp_path / "study", tmp_path / "storage"
    (study / "texts").mkdir(parents=True)
    (study / "study.toml").write_text("first")
    (study / "texts" / "de.toml").write_text("Guten Tag")
    assert on_storage(study, storage) == study
    storage.mkdir()
    there = on_storage(study, storage)
    assert there.is_relative_to(storage)
    (there / "study.db").write_text("answers")
    (study / "study.toml").write_text("second")
    assert on_storage(study, storage) == there
    assert [(there / name).read_text() for name in ("study.toml", "study.db")] == ["second", "answers"]
    assert (there / "texts" / "de.toml").read_text() == "Guten Tag"
