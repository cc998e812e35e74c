import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.study_fakes import Visitor, quick_study
from webapp.study.database import Database
from webapp.study.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    study = quick_study(tmp_path / "study")
    database = Database(study.database_url)
    yield Service(study, database)
    database.close()


def test_a_state_says_where_they_are_and_what_is_asked(service: Service) -> None:
    visitor = Visitor(service, "zh")
    state = visitor.state
    assert state["step"]["key"] == "consent"
    assert [item["key"] for item in state["step"]["items"]] == ["agree", "publish"]
    assert (state["language"], state["way"], state["label"], state["talk"]) == ("zh", "keys", None, None)
    assert state["progress"] == {"at": 1, "of": 12}
    assert "参加" in state["texts"]["consent.body"]
    assert state["title"] == "与计算机程序对话"
    visitor.go_to("talk-2-1")
    state = visitor.state
    assert state["label"] == state["labels"][1]
    assert state["talk"] == {"seconds": 0, "turns": 0, "needed_seconds": 20, "needed_turns": 2}
    assert set(state["step"]["task"]) == {"title", "text"}
    assert state["progress"] == {"at": 7, "of": 12}
    assert service.state(visitor.token) == state
    json.dumps(state)


def test_nothing_in_a_state_says_which_system_is_which_before_the_end(service: Service) -> None:
    visitor = Visitor(service)
    while visitor.step != "done":
        shown = json.dumps({key: value for key, value in visitor.state.items() if key != "texts"})
        for word in ("duplex", "strict", "barge", "embedded", '"right"', '"arm"', '"block"', '"seed"'):
            assert word not in shown, (visitor.step, word)
        assert visitor.state["revealed"] is None
        if visitor.state["step"]["kind"] == "talk":
            visitor.talk()
        visitor.answer()
    assert set(visitor.state["revealed"].values()) == {"duplex", "strict"}


def test_a_participant_has_no_place_before_consent_but_a_way(service: Service) -> None:
    visitor = Visitor(service)
    assert (visitor.state["labels"], visitor.state["sides"], visitor.state["progress"]["of"]) == ([], [], 12)
    visitor.answer()
    assert sorted(visitor.state["labels"]) == ["A", "B"]
    assert sorted(visitor.state["sides"]) == [1, 2]
