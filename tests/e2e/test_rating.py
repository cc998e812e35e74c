"""A person rates what they talked to."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from duplex_runtime.recording import read_log

pytestmark = pytest.mark.e2e


def rate(arena: Any, system: str, responsiveness: int, human_likeness: int, comment: str) -> Any:
    form = arena.part(f"rating-{system}")
    for name, value in (("Responsiveness", responsiveness), ("Human-likeness", human_likeness)):
        form.get_by_role("radiogroup", name=name).get_by_role("radio").nth(value - 1).check()
    form.get_by_label("Comment").fill(comment)
    form.get_by_role("button", name="rate").click()
    return form.locator('[data-part="message"]')


def test_a_rating_is_in_the_database_with_its_recording_beside_it(arena: Any, data: Path) -> None:
    arena.type("hello.")
    arena.wait_for("a slice", lambda e: e["type"] == "duplex.slice" and e["user"] == "hello.")
    comment = '=1+1 <script>alert("x")</script> 😀'
    expect(rate(arena, "duplex", 6, 4, comment)).to_contain_text("saved")
    expect(rate(arena, "turns", 2, 3, "")).to_contain_text("saved")
    with closing(sqlite3.connect(data / "ratings.db")) as database:
        rows = database.execute(
            "SELECT system, responsiveness, human_likeness, comment, recording FROM ratings WHERE session = ?",
            (arena.session,),
        ).fetchall()
    recording = f"{arena.session}.jsonl"
    assert rows == [("duplex", 6, 4, comment, recording), ("turns", 2, 3, "", recording)]
    inputs = [e for e in read_log(data / "recordings" / recording)["duplex"].lines if e["kind"] == "input"]
    assert "".join(e["text"] for e in inputs) == "hello."


def test_a_rating_needs_both_scales(arena: Any) -> None:
    form = arena.part("rating-duplex")
    form.get_by_role("button", name="rate").click()
    expect(form.locator('[data-part="message"]')).to_contain_text("both scales")


def test_a_rating_that_is_not_stored_says_so_and_keeps_the_choice(arena: Any) -> None:
    arena.page.route("**/ratings", lambda route: route.fulfill(
        status=507, json={"error": {"code": "not_stored", "message": "the disk is full."}}
    ))  # fmt: skip
    message = rate(arena, "duplex", 5, 5, "mine")
    expect(message).to_contain_text("Not saved: the disk is full")
    expect(arena.part("rating-duplex").get_by_label("Comment")).to_have_value("mine")
    arena.page.unroute("**/ratings")
    arena.part("rating-duplex").get_by_role("button", name="rate").click()
    expect(message).to_contain_text("saved")
