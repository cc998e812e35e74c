import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput
from tests.hub_fakes import FakeHub, Repo, refused
from tests.study_exports import Crowd
from webapp.study.export import Options, export, manifest_of
from webapp.study.hub import HubError
from webapp.study.push import check, push

REPO = "ann/study"


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    crowd = Crowd(tmp_path / "crowd")
    yield crowd
    crowd.close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    hub = FakeHub()
    monkeypatch.setattr("webapp.study.push.api_of", lambda: hub)
    monkeypatch.setattr("webapp.study.push.has_token", lambda: True)
    return hub


def exported(crowd: Crowd) -> Path:
    return export(crowd.study, crowd.database, crowd.study.folder / "export", Options()).folder


def names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def test_an_export_goes_to_a_private_data_set(crowd: Crowd, hub: FakeHub) -> None:
    folder = exported(crowd)
    pushed = push(crowd.study, crowd.database, folder, REPO)
    assert pushed.url == "https://huggingface.co/datasets/ann/study"
    assert hub.repos[REPO].private and hub.files(REPO) == names(folder)
    assert (pushed.files, pushed.size_bytes) == (len(names(folder)), sum(map(len, hub.repos[REPO].files.values())))


def test_who_was_deleted_since_is_gone_there_as_well(crowd: Crowd, hub: FakeHub) -> None:
    push(crowd.study, crowd.database, exported(crowd), REPO)
    crowd.service.withdraw(crowd.open.token)
    with pytest.raises(BadInput, match=rf"1 participants in it were deleted or excluded since \({crowd.open.id}\)"):
        push(crowd.study, crowd.database, crowd.study.folder / "export", REPO)
    push(crowd.study, crowd.database, exported(crowd), REPO)
    assert hub.repos[REPO].before == []
    assert not [name for name, data in hub.repos[REPO].files.items() if crowd.open.id.encode() in data]


def test_what_else_is_in_a_data_set_is_not_deleted(crowd: Crowd, hub: FakeHub) -> None:
    folder = exported(crowd)
    hub.repos[REPO] = Repo(files={"thesis.txt": b"years", ".gitattributes": b""})
    with pytest.raises(HubError, match="it holds other things than an export"):
        push(crowd.study, crowd.database, folder, REPO)
    assert hub.files(REPO) == [".gitattributes", "thesis.txt"]
    hub.repos[REPO] = Repo(files={"README.md": b"", ".gitattributes": b""})  # as the hub makes it
    push(crowd.study, crowd.database, folder, REPO)


def test_a_public_data_set_gets_nothing(crowd: Crowd, hub: FakeHub) -> None:
    hub.repos[REPO] = Repo(private=False)
    with pytest.raises(HubError, match="everybody can read it"):
        push(crowd.study, crowd.database, exported(crowd), REPO)
    assert hub.files(REPO) == []


def test_without_a_token_or_to_try_it_nothing_is_sent(
    crowd: Crowd, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(crowd)
    assert push(crowd.study, crowd.database, folder, REPO, dry_run=True).url == ""
    monkeypatch.setattr("webapp.study.push.has_token", lambda: False)
    assert push(crowd.study, crowd.database, folder, REPO).files == len(names(folder))
    assert hub.repos == {}


def test_what_the_hub_says_is_told(crowd: Crowd, hub: FakeHub) -> None:
    folder = exported(crowd)
    hub.fails = refused(401)
    with pytest.raises(HubError, match="ann/study on the Hugging Face hub: the token is not valid"):
        push(crowd.study, crowd.database, folder, REPO)


def test_an_export_that_is_not_as_it_was_is_refused(crowd: Crowd, hub: FakeHub, tmp_path: Path) -> None:
    folder = exported(crowd)
    with pytest.raises(BadInput, match="OWNER/NAME"):
        push(crowd.study, crowd.database, folder, "study")
    with pytest.raises(BadInput, match="expected an export"):
        push(crowd.study, crowd.database, tmp_path, REPO)
    (folder / "csv" / "notes.csv").write_text("x")
    with pytest.raises(BadInput, match=r"1 files are not as they were exported \(csv/notes.csv\)"):
        check(crowd.study, crowd.database, folder)
    manifest = json.dumps(manifest_of(folder) | {"study": "other"})
    (folder / "export.json").write_text(manifest)
    with pytest.raises(BadInput, match="expected an export of my-study"):
        check(crowd.study, crowd.database, folder)
    assert hub.repos == {}
