import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hub_fakes import FakeHub, Repo, refused
from tests.study_fakes import Guest, StudyPlace, Visitor, fill, leave_files, quick_study
from tests.study_fakes import refused as refusal
from webapp.study.database import Database
from webapp.study.erase import delete_due, due
from webapp.study.hub import HubError
from webapp.study.mirror import Mirror, copies_of
from webapp.study.service import Service
from webapp.study.site import OpenStudy

REPO = "ann/mirror"
MIRRORED = ('# mirror = "OWNER/NAME"', f'mirror = "{REPO}"')
NEVER = 600.0


@dataclass
class Place:
    service: Service
    hub: FakeHub
    mirror: Mirror

    def visitor(self) -> tuple[Visitor, list[str]]:
        """Somebody with talks, and the names that their files have at the hub."""
        visitor = Visitor(self.service)
        visitor.go_to("rate-1")
        files = leave_files(self.service, visitor)
        self.mirror.send()
        return visitor, [*(f"recordings/{file.name}" for file in files), f"journals/{visitor.id}.jsonl"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    hub = FakeHub()
    monkeypatch.setattr("webapp.study.mirror.api_of", lambda: hub)
    study = quick_study(tmp_path / "study", MIRRORED)
    service = Service(study, Database(study.database_url))
    mirror = Mirror(study, hub, NEVER)
    yield Place(service, hub, mirror)
    hub.fails, hub.meanwhile = None, lambda: None
    mirror.close()
    service.database.close()


def test_answers_and_talks_are_mirrored_and_nothing_else(place: Place) -> None:
    visitor, names = place.visitor()
    assert place.hub.files(REPO) == sorted(names)
    assert place.hub.repos[REPO].private
    journal = place.hub.repos[REPO].files[f"journals/{visitor.id}.jsonl"].decode().splitlines()
    first, *rest = map(json.loads, journal)
    assert first["step"] == "consent" and sorted(first["order"]) == ["duplex", "strict"] and "token" not in journal[0]
    assert [line.get("step", line.get("talk")) for line in rest] == [
        *("device", "practice", "talk-1-1", "talk-1-1", "talk-1-2", "talk-1-2")
    ]
    recordings = {f"recordings/{line['recording']}" for line in rest if "talk" in line}
    assert recordings == {name for name in names if name.startswith("recordings/") and name.endswith(".jsonl")}


def test_what_grew_is_sent_again(place: Place) -> None:
    visitor, _ = place.visitor()
    before = place.hub.repos[REPO].files[f"journals/{visitor.id}.jsonl"]
    visitor.answer(fill(visitor.state["step"]) | {"comment": "Too slow."})
    place.mirror.send()
    after = place.hub.repos[REPO].files[f"journals/{visitor.id}.jsonl"]
    assert after.startswith(before) and b"Too slow." in after


def test_who_withdraws_is_gone_from_the_mirror_and_its_history(place: Place) -> None:
    (one, theirs), (_, others) = place.visitor(), place.visitor()
    erased, _ = place.service.withdraw(one.token)
    assert erased.complete
    assert place.hub.ever(REPO) == set(others)
    place.mirror.send()
    assert not set(theirs) & set(place.hub.files(REPO))
    assert not (place.service.study.journals / f"{one.id}.jsonl").exists()
    refusal(lambda: place.service.state(one.token), "withdrawn")


def test_what_the_hub_does_not_delete_is_said_and_tried_again(place: Place) -> None:
    visitor, names = place.visitor()
    place.hub.fails = refused(500)
    erased, said = place.service.withdraw(visitor.token)
    (left,) = erased.left
    assert left.startswith("ann/mirror on the Hugging Face hub: it answered 500") and visitor.id in said
    refusal(lambda: place.service.state(visitor.token), "not_deleted")
    assert (place.service.study.journals / f"{visitor.id}.jsonl").read_bytes() == b""  # not what they said
    place.hub.fails = None
    assert place.service.withdraw(visitor.token)[0].complete
    assert not place.hub.ever(REPO) & set(names)
    refusal(lambda: place.service.state(visitor.token), "withdrawn")


def test_it_is_not_forgotten_that_the_hub_has_something_of_who_had_no_talk(place: Place) -> None:
    visitor = Visitor(place.service)
    visitor.answer()
    place.mirror.send()
    place.hub.fails = refused(500)
    assert not place.service.withdraw(visitor.token)[0].complete
    refusal(lambda: place.service.state(visitor.token), "not_deleted")
    place.hub.fails = None
    assert place.service.withdraw(visitor.token)[0].complete
    assert place.hub.ever(REPO) == set()


def test_what_is_deleted_while_it_is_being_sent_does_not_come_back(place: Place) -> None:
    visitor, names = place.visitor()
    visitor.answer()

    def withdraw() -> None:
        place.hub.meanwhile = lambda: None
        assert place.service.withdraw(visitor.token)[0].complete

    place.hub.meanwhile = withdraw
    place.mirror.send()
    assert not place.hub.ever(REPO) & set(names)


def test_retention_reaches_the_mirror(place: Place) -> None:
    from datetime import UTC, datetime, timedelta

    place.visitor()
    study, database = place.service.study, place.service.database
    (erased,) = delete_due(study, database, due(study, database, datetime.now(UTC) + timedelta(days=400)))
    assert erased.complete and place.hub.ever(REPO) == set()


def test_what_cannot_be_sent_at_the_end_is_logged(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    visitor, _ = place.visitor()
    visitor.answer()
    place.hub.fails = refused(403)
    with caplog.at_level(logging.ERROR):
        place.mirror.close()
    assert "the mirror is not complete: ann/mirror" in caplog.text


def test_a_public_data_set_gets_nothing(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.repos[REPO] = Repo(private=False)
    with pytest.raises(HubError, match="everybody can read it"):
        Mirror(quick_study(tmp_path, MIRRORED), hub, NEVER)


def test_a_study_without_a_mirror_has_no_journals(tmp_path: Path) -> None:
    study = quick_study(tmp_path / "study")
    service = Service(study, Database(study.database_url))
    visitor = Visitor(service)
    visitor.go_to("rate-1")
    assert Mirror.of(study) is None and not study.journals.exists()
    assert copies_of(study).delete(visitor.id, []) == []
    service.database.close()


def test_a_server_mirrors_its_study_and_sends_the_last_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeHub()
    monkeypatch.setattr("webapp.study.mirror.api_of", lambda: hub)
    with StudyPlace(tmp_path, MIRRORED) as served:
        guest = Guest(served)
        guest.answer()
        participant = guest.state["participant"]
    assert hub.files(REPO) == [f"journals/{participant}.jsonl"]


def test_a_server_does_not_begin_where_its_study_cannot_be_mirrored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeHub()
    hub.fails = refused(401)
    monkeypatch.setattr("webapp.study.mirror.api_of", lambda: hub)
    with pytest.raises(HubError, match="the token is not valid"):
        OpenStudy(quick_study(tmp_path / "study", MIRRORED).folder)


def test_somebody_is_deleted_from_the_mirror_when_the_disk_was_lost(place: Place) -> None:
    (one, _), (_, others) = place.visitor(), place.visitor()
    elsewhere = quick_study(place.service.study.folder.parent / "new", MIRRORED)  # nothing of them is here
    copies = copies_of(elsewhere)
    assert copies.there(one.id) and not copies.there("p-nobody")
    assert copies.delete(one.id, []) == []
    assert place.hub.ever(REPO) == set(others) and not copies.there(one.id)
