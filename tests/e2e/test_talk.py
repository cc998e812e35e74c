"""A person talks to both models: what they see, and when."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web_fakes import Served, eventually
from webapp.play import replay_log

pytestmark = pytest.mark.e2e


def words(event: dict[str, Any]) -> str:
    return str(event.get("user", ""))


def listen_then_answer(arena: Any) -> None:
    """Half a sentence, a pause, the rest."""
    arena.type("tell me ")
    arena.wait_for("the first half", lambda e: e["type"] == "duplex.slice" and words(e) == "tell me")
    expect(arena.page.locator(".da-lane-duplex .da-idle").first).to_be_visible()
    assert not arena.of("response.created")
    expect(arena.in_panel("duplex", ".da-answer-line")).to_have_count(0)
    arena.type("about volcanoes?")
    arena.wait_for("an answer", lambda e: e["type"] == "response.created" and e["system"] == "duplex")


def test_it_listens_to_half_a_sentence_and_answers_the_whole(arena: Any) -> None:
    listen_then_answer(arena)
    expect(arena.answer("duplex")).to_contain_text("olcano")
    expect(arena.page.locator(".da-lane-duplex .da-speech").first).to_be_visible()
    half = next(e for e in arena.of("duplex.slice") if words(e) == "tell me")
    assert half["idle"] and half["p_idle"] > 0.5
    assert arena.of("duplex.reaction")
    expect(arena.part("median")).to_contain_text("answers after")


def test_what_was_said_leaves_the_box_and_stands_above_it(arena: Any) -> None:
    listen_then_answer(arena)
    expect(arena.part("box")).to_have_value("")
    expect(arena.part("said-text")).to_have_text("tell me about volcanoes?")


def test_it_stops_when_told_so_and_stays_silent(arena: Any) -> None:
    listen_then_answer(arena)
    expect(arena.answer("duplex")).to_contain_text("olcano")
    arena.type("stop.")
    arena.wait_for("the yield", lambda e: e["type"] == "duplex.yield")
    done = arena.wait_for("the end", lambda e: e["type"] == "response.done" and e["system"] == "duplex")
    assert done["status"] == "cancelled"
    expect(arena.page.locator(".da-lane-duplex .da-stop").first).to_be_visible()
    created = len(arena.of("response.created"))
    arena.page.wait_for_timeout(3000)  # it is silence that is to be seen
    assert len(arena.of("response.created")) == created
    expect(arena.in_panel("duplex", "[data-part=status]")).not_to_contain_text("speaking")


def test_who_waits_answers_only_after_enter(arena: Any) -> None:
    arena.type("What is the capital of France?")
    expect(arena.answer("duplex")).to_contain_text("Paris")
    assert not arena.of("response.created", "turns")
    expect(arena.in_panel("turns", ".da-answer-line")).to_have_count(0)
    arena.part("box").press("Enter")
    expect(arena.answer("turns")).to_contain_text("Paris")
    assert arena.of("duplex.slice", "turns")[0]["user"] == "What is the capital of France?"


def test_what_is_to_be_said_later_is_not_shown_yet(arena: Any) -> None:
    """The whole answer of the one that waits is known at once, and is shown at the pace of speech."""
    arena.type("tell me about volcanoes.")
    arena.part("box").press("Enter")
    arena.wait_for("its last words", lambda e: e.get("system") == "turns" and "soil" in e.get("delta", ""))
    expect(arena.answer("turns")).to_contain_text("olcano")
    assert "soil" not in arena.answer("turns").inner_text()


def test_who_waits_is_deaf_while_it_answers(arena: Any) -> None:
    arena.type("tell me about volcanoes.")
    arena.part("box").press("Enter")
    arena.wait_for("its answer", lambda e: e["type"] == "response.created" and e["system"] == "turns")
    arena.type("stop.")
    expect(arena.page.locator(".da-lane-turns .da-deaf").first).to_be_attached()
    arena.wait_for("the last key", lambda e: e["type"] == "duplex.deaf" and e["text"] == ".")
    assert "".join(e["text"] for e in arena.of("duplex.deaf", "turns")) == "stop."
    assert len(arena.of("response.created", "turns")) == 1


def test_what_was_taken_back_was_never_said(arena: Any) -> None:
    arena.type("tell me about vol")
    for _ in range(3):
        arena.part("box").press("Backspace")
    arena.type("volcanoes?")
    arena.wait_for("an answer", lambda e: e["type"] == "response.created" and e["system"] == "duplex")
    expect(arena.part("said-text")).to_have_text("tell me about volcanoes?")


def test_a_suggestion_is_typed_at_a_click(arena: Any) -> None:
    arena.page.get_by_role("button", name="What is the capital of France?").click()
    heard = arena.wait_for("the words", lambda e: e["type"] == "duplex.slice" and "France?" in words(e))
    assert heard["system"] == "duplex"
    expect(arena.answer("duplex")).to_contain_text("Paris")
    expect(arena.part("hint")).to_contain_text("Enter")


def test_a_new_session_forgets_the_talk(arena: Any) -> None:
    arena.type("hello.")
    arena.wait_for("a slice", lambda e: e["type"] == "duplex.slice" and words(e) == "hello.")
    before = arena.session
    arena.part("new").click()
    eventually(lambda: arena.page.evaluate("0") == 0 and arena.session != before, "another session")
    expect(arena.page.locator(".da-lane-you .da-heard")).to_have_count(0)
    expect(arena.in_panel("duplex", ".da-answer-line")).to_have_count(0)


def test_the_talk_replays_to_the_same_tokens(
    arena: Any, data: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    listen_then_answer(arena)
    arena.part("box").press("Enter")
    arena.wait_for("both", lambda e: e["type"] == "response.created" and e["system"] == "turns")
    arena.type("stop.")
    arena.wait_for("the end", lambda e: e["type"] == "response.done" and e["system"] == "duplex")
    log = data / "recordings" / f"{arena.session}.jsonl"
    arena.part("new").click()  # ends the session, and with it the recording
    assert replay_log(log, None) == 0
    said = capsys.readouterr().out
    assert "duplex: " in said and "turns: " in said and "duplex: 0 tokens" not in said


def test_two_people_talk_at_once(arena: Any, new_page: Any, served: Served) -> None:
    other = new_page().open(served.url)
    arena.type("What is the capital of France?")
    other.type("tell me about volcanoes?")
    expect(arena.answer("duplex")).to_contain_text("Paris")
    expect(other.answer("duplex")).to_contain_text("olcano")
    assert arena.session != other.session
