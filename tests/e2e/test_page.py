"""The page itself: how it fits, how it looks, and what it says when the server is gone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web_fakes import Served, app_of
from webapp.crowd import Crowd

pytestmark = pytest.mark.e2e

SIZE = "() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"


def test_the_page_fits_a_laptop_without_scrolling(arena: Any) -> None:
    width, height = arena.page.evaluate(SIZE)
    assert width <= 1280
    assert height <= 800


def test_the_page_still_fits_after_a_long_answer(arena: Any) -> None:
    arena.type("tell me about volcanoes. ")
    arena.part("box").press("Enter")
    arena.wait_for("an answer", lambda e: e["type"] == "response.created" and e["system"] == "turns")
    expect(arena.answer("turns")).to_be_visible()
    width, height = arena.page.evaluate(SIZE)
    assert (width <= 1280, height <= 800) == (True, True)


@pytest.mark.parametrize("width", [390, 768])
def test_a_small_screen_does_not_scroll_sideways(new_page: Callable[..., Any], served: Served, width: int) -> None:
    arena = new_page(viewport={"width": width, "height": 844}, has_touch=True).open(served.url)
    arena.type("tell me about volcanoes. ")
    arena.wait_for("a slice", lambda e: e["type"] == "duplex.slice" and e["user"])
    assert arena.page.evaluate(SIZE)[0] <= width
    expect(arena.part("box")).to_be_in_viewport()


def brightness(arena: Any, selector: str, what: str) -> float:
    """From 0 to 255, of the first colour behind or of an element."""
    red, green, blue = arena.page.evaluate(
        """([selector, what]) => {
          let element = document.querySelector(selector);
          const colour = (e) => getComputedStyle(e)[what].match(/[\\d.]+/g).map(Number);
          while (what === "backgroundColor" && element.parentElement && colour(element)[3] === 0) {
            element = element.parentElement;
          }
          return colour(element).slice(0, 3);
        }""",
        [selector, what],
    )
    return (red * 299 + green * 587 + blue * 114) / 1000


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_page_is_as_dark_as_the_system(new_page: Callable[..., Any], served: Served, scheme: str) -> None:
    arena = new_page(color_scheme=scheme).open(served.url)
    paper = [brightness(arena, selector, "backgroundColor") for selector in ("body", "#duplex-arena", "textarea")]
    ink = [brightness(arena, s, "color") for s in ("#duplex-arena", "textarea", ".da-title")]
    if scheme == "dark":
        assert max(paper) < 70 and min(ink) > 150
    else:
        assert min(paper) > 200 and max(ink) < 100


def test_the_keyboard_begins_in_the_box(arena: Any) -> None:
    expect(arena.part("box")).to_be_focused()


def test_every_control_has_a_name(arena: Any) -> None:
    nameless = arena.page.evaluate(
        """() => [...document.querySelectorAll("#duplex-arena :is(button, input, select, textarea)")]
          .filter((e) => !e.hidden && !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_words_from_people_are_text_and_nothing_else(arena: Any) -> None:
    arena.type('<img src=x onerror="window.hacked=1"> <b>hi</b>. ')
    arena.wait_for("a slice", lambda e: e["type"] == "duplex.slice" and "img" in e["user"])
    expect(arena.page.locator(".da-lane-you .da-heard").first).to_be_attached()
    assert arena.page.locator("#duplex-arena img, #duplex-arena .da-lanes b").count() == 0
    assert arena.page.evaluate("window.hacked") is None


# — when the server is gone —


@pytest.fixture
def fragile(tmp_path: Path) -> Any:
    """A server that the test may stop."""
    served = Served(app_of(tmp_path))
    yield served
    served.stop()


def test_a_banner_tells_that_the_server_is_gone_and_the_talk_stays(new_page: Any, fragile: Served) -> None:
    arena = new_page().open(fragile.url)
    arena.type("hello.")
    expect(arena.answer("duplex")).to_contain_text("hi you")
    fragile.stop()
    expect(arena.part("banner")).to_be_visible()
    expect(arena.part("banner-text")).to_contain_text("Connect")
    expect(arena.part("banner-action")).to_have_text("try now")
    expect(arena.part("connection")).to_have_text("not connected")
    expect(arena.answer("duplex")).to_contain_text("hi you")
    arena.type("still here")
    expect(arena.part("box")).to_have_value("still here")
    form = arena.part("rating-duplex")
    for group in form.get_by_role("radiogroup").all():
        group.get_by_role("radio").nth(3).check()
    form.get_by_role("button", name="rate").click()
    expect(form.locator('[data-part="message"]')).to_contain_text("Not saved")


def test_a_connection_that_comes_back_goes_on_with_what_was_typed(new_page: Any, served: Served) -> None:
    arena = new_page()
    sockets: list[Any] = []
    arena.page.route_web_socket("**/v1/realtime", lambda ws: sockets.append((ws, ws.connect_to_server())))
    arena.page.goto(served.url)
    expect(arena.part("connection")).to_have_text("connected")
    arena.type("hello.")
    expect(arena.page.locator(".da-lane-you .da-heard").first).to_be_attached()
    sockets[-1][0].close(code=1012)
    sockets[-1][1].close()
    expect(arena.part("banner-text")).to_contain_text("Connected again")
    expect(arena.page.locator(".da-lane-you .da-heard").first).to_be_attached()
    arena.type("again ")
    expect(arena.part("banner")).to_be_hidden(timeout=5000)


def test_who_comes_to_a_full_server_waits_their_turn_and_then_talks(new_page: Any, tmp_path: Path) -> None:
    with Served(app_of(tmp_path, crowd=Crowd(places=1))) as served:
        first = new_page().open(served.url)
        second = new_page()
        second.page.goto(served.url)
        expect(second.page.locator(".da-lobby")).to_contain_text("You are number 1 of 1")
        expect(second.page.locator(".da-lane-duplex .da-mark").first).to_be_visible()  # the recording to watch
        first.page.close()
        expect(second.part("connection")).to_have_text("connected")
        expect(second.page.locator(".da-lobby")).to_be_hidden()
        second.type("hello ")
        second.part("box").press("Enter")
        expect(second.answer("duplex")).to_contain_text("hi you")
