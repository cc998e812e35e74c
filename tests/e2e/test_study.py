"""A participant goes the whole way in a real browser, twice, with both orders; and what people do to such a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import select

from tests.study_fakes import PROLIFIC, quick_study
from tests.study_files import TOKEN
from tests.web_fakes import ROOM, Served, eventually
from webapp.app import create_app
from webapp.settings import Settings
from webapp.study.database import Answer, Database, Note, Participant, Talk
from webapp.study.definition import Study

pytestmark = pytest.mark.e2e

#: What must not be seen before the last page, in anything that the browser was sent.
UNBLINDING = ("duplex-", '"duplex"', "turns-", '"system": "turns"', "strict", "p_idle", "embedded", "slice")
EVIL = '=HYPERLINK("http://example.org") <img src=x onerror=alert(1)> 你好'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Study]]:
    folder = tmp_path_factory.mktemp("study")
    study = quick_study(
        folder / "study", ("block = 4", "block = 2"), ("sessions = 2", "sessions = 1"),
        ("min_seconds = 20", "min_seconds = 6"), *PROLIFIC,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in TOKEN.items():
            patch.setenv(name, value)
        with Served(create_app(Settings(data=folder / "data", ears="off", study=study.folder, crowd=ROOM))) as served:
            yield served, study


@dataclass
class Person:
    """The page as a participant has it, and all that travelled behind it."""

    page: Page
    url: str
    frames: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: self.frames.append(frame)))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("response", self._answered)

    def _answered(self, response: Any) -> None:
        if response.url.endswith(("/begin", "/state", "/answer")) and response.ok:
            self.frames.append(json.dumps(response.json().get("state", response.json())))

    def open(self) -> Person:
        self.page.goto(self.url)
        expect(self.page.locator("main")).not_to_be_empty()
        return self

    @property
    def kind(self) -> str:
        return str(self.page.locator("main").get_attribute("data-kind"))

    @property
    def main_button(self) -> Locator:
        return self.page.locator("main .st-main-button").last

    def go_on(self) -> None:
        """Press what leads on, and wait for the next page."""
        before = self.page.locator("[data-part=progress]").inner_text()
        self.main_button.click()
        expect(self.page.locator("[data-part=progress]")).not_to_have_text(before)

    def say(self, text: str) -> None:
        self.page.locator(".st-box").press_sequentially(text, delay=30)

    def consent(self) -> None:
        self.page.locator("[name=agree]").check()
        self.go_on()

    def check_keyboard(self) -> None:
        self.page.locator("[data-item=keyboard] input").fill("hello")
        self.go_on()

    def practise(self) -> None:
        self.page.locator("main .st-button").first.click()
        expect(self.page.locator(".st-practice").first).not_to_be_empty()
        self.say("stop")
        expect(self.main_button).to_be_enabled()
        self.go_on()

    def talk(self) -> None:
        self.main_button.click()
        self.say("Tell me about volcanoes.")
        self.page.locator(".st-box").press("Enter")
        expect(self.page.locator(".st-partner").last).to_contain_text("olcan")
        self.say("stop")
        self.page.locator(".st-box").press("Enter")
        self.say("What is the capital of France?")
        self.page.locator(".st-box").press("Enter")
        expect(self.main_button).to_have_text("End this talk")
        expect(self.main_button).to_be_enabled()
        expect(self.page.locator(".st-you .st-said").first).to_have_text("Tell me about volcanoes.")
        self.go_on()

    def fill(self) -> None:
        """Any answers to a page of questions."""
        for group in self.page.locator("fieldset:visible").all():
            group.locator("input").last.check(force=True)
        for box in self.page.locator("main textarea:visible").all():
            box.fill(EVIL)

    def go_to(self, kind: str, position: str = "") -> None:
        """Answer the pages before this one."""
        ways: dict[str, Callable[[], None]] = {
            "consent": self.consent, "device": self.check_keyboard, "practice": self.practise, "talk": self.talk
        }  # fmt: skip
        while self.kind != kind or position not in self.page.locator("h1").inner_text():
            if self.kind in ways:
                ways[self.kind]()
            else:
                self.fill()
                self.go_on()


@pytest.fixture
def come(new_page: Callable[..., Any], place: tuple[Served, Study]) -> Iterator[Callable[..., Person]]:
    """Somebody opens the page."""
    served, study = place
    came: list[Person] = []

    def one(name: str, page: Page | None = None, **options: Any) -> Person:
        url = f"{served.url}/study/{study.name}/?PROLIFIC_PID={name}&STUDY_ID=s&SESSION_ID=t"
        came.append(Person(page or new_page(**options).page, url).open())
        return came[-1]

    yield one
    for each in came:
        assert not each.problems


def rows(study: Study, table: Any, **values: Any) -> list[Any]:
    database = Database(study.database_url)
    with database.reading() as session:
        found = list(session.scalars(select(table).filter_by(**values)))
    database.close()
    return found


def test_two_go_the_whole_way_with_both_orders(come: Callable[..., Person], place: tuple[Served, Study]) -> None:
    _, study = place
    orders = []
    for name, options in (("first", {}), ("second", {"viewport": {"width": 360, "height": 700}})):
        somebody = come(name, **options)
        somebody.go_to("about")
        for word in UNBLINDING:
            assert not [frame for frame in somebody.frames if word in frame.lower()], word
        somebody.fill()
        somebody.main_button.click()
        expect(somebody.page.locator("h1")).to_have_text("Thank you!")
        expect(somebody.page.locator("main")).to_contain_text("C0DE")
        expect(somebody.page.locator(".st-revealed")).to_contain_text("waited for its turn")
        number = somebody.page.locator("main").inner_text().split("number in this study is ")[1].split(".")[0]
        (row,) = rows(study, Participant, id=number)
        assert row.status == "completed"
        orders.append(tuple(row.order))
        answers = {(a.step, a.item): a.value for a in rows(study, Answer, participant=number)}
        assert answers["rate-1", "comment"] == EVIL and answers["rate-2", "overall"] == 7
        for talk in rows(study, Talk, participant=number):
            assert talk.seconds >= 6 and talk.turns >= 2 and talk.ended
            assert (study.recordings / talk.recording).stat().st_size > 1000
        wide = somebody.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert wide, "the page does not fit"
    assert sorted(orders) == [("duplex", "strict"), ("strict", "duplex")]


def test_a_reload_loses_nothing(come: Callable[..., Person], place: tuple[Served, Study]) -> None:
    somebody = come("reload")
    somebody.go_to("rate")
    somebody.page.locator("[name=responsiveness][value='3']").check(force=True)
    somebody.page.locator("textarea").fill("half a remark")
    somebody.page.reload()
    expect(somebody.page.locator("h1")).to_contain_text("How was partner")
    expect(somebody.page.locator("[name=responsiveness][value='3']")).to_be_checked()
    expect(somebody.page.locator("textarea")).to_have_value("half a remark")
    somebody.fill()
    somebody.go_on()
    somebody.page.go_back()  # the page before is another site, or none
    somebody.page.goto(somebody.url)
    expect(somebody.page.locator("h1")).to_contain_text("Talk with partner")
    assert {note.kind for note in rows(place[1], Note)} >= {"reload", "device"}


def test_a_page_that_is_not_filled_in_says_where(come: Callable[..., Person]) -> None:
    somebody = come("hasty")
    somebody.main_button.click()
    expect(somebody.page.locator("[data-item=agree] .st-problem")).to_contain_text("your agreement")
    somebody.consent()
    somebody.main_button.click()
    expect(somebody.page.locator("[data-item=keyboard] .st-problem")).to_be_visible()


def test_who_answered_in_another_tab_is_taken_there(come: Callable[..., Person]) -> None:
    somebody = come("tabs")
    other = come("tabs", page=somebody.page.context.new_page())
    somebody.consent()
    other.page.locator("[name=agree]").check()
    other.main_button.click()
    expect(other.page.locator("h1")).to_have_text("A short check")  # the same answer: as if it had been sent twice
    somebody.check_keyboard()
    somebody.practise()
    other.page.locator("[data-item=keyboard] input").fill("hello")
    other.main_button.click()
    expect(other.page.locator("h1")).to_contain_text("Talk with partner")
    somebody.main_button.click()
    expect(somebody.page.locator(".st-box")).to_be_visible()
    other.main_button.click()
    expect(somebody.page.locator("[data-part=banner]")).to_contain_text("open in another window")


def test_the_talk_goes_on_when_the_connection_is_back(come: Callable[..., Person]) -> None:
    somebody = come("network")
    sockets: list[Any] = []

    def through(socket: Any) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    somebody.page.route_web_socket("**/realtime*", through)
    somebody.go_to("talk")
    somebody.main_button.click()
    somebody.say("How do bees live?")
    somebody.page.locator(".st-box").press("Enter")
    expect(somebody.page.locator(".st-partner .st-said").last).not_to_be_empty()
    sockets[0].close(code=1011)
    somebody.say("What is the capital of Peru?")
    somebody.page.locator(".st-box").press("Enter")
    expect(somebody.page.locator(".st-partner").last).to_contain_text("Lima")
    expect(somebody.page.locator(".st-you").first).to_contain_text("bees")
    assert len(sockets) == 2


def test_who_leaves_is_forgotten(come: Callable[..., Person], place: tuple[Served, Study]) -> None:
    _, study = place
    somebody = come("leaving")
    somebody.go_to("rate")
    before = {talk.recording for talk in rows(study, Talk)}
    token = somebody.page.evaluate("Object.values(localStorage)[0]")
    somebody.page.locator("[data-part=leave]").click()
    somebody.page.locator("[data-part=leaving-yes]").click()
    expect(somebody.page.locator("h1")).to_have_text("You have left the study")
    gone = before - {talk.recording for talk in rows(study, Talk)}
    assert len(gone) == 1 and not [name for name in gone if (study.recordings / name).exists()]
    assert token and not somebody.page.evaluate("localStorage.length")


def test_the_language_is_chosen_on_the_first_page(come: Callable[..., Person]) -> None:
    somebody = come("language", locale="zh-CN")
    expect(somebody.page.locator("h1")).to_have_text("开始之前")
    somebody.page.locator("[data-part=language]").select_option("en")
    expect(somebody.page.locator("h1")).to_have_text("Before you begin")
    somebody.consent()
    expect(somebody.page.locator("[data-part=language-row]")).to_be_hidden()


def test_nobody_takes_part_twice(come: Callable[..., Person]) -> None:
    come("twice").consent()
    again = come("twice")  # another browser
    expect(again.page.locator("main")).to_contain_text("already taken part")


def test_answers_wait_for_a_server_that_is_away(come: Callable[..., Person]) -> None:
    somebody = come("away")
    somebody.page.locator("[name=agree]").check()
    failures: list[str] = []

    def fail(route: Any) -> None:
        failures.append(json.loads(route.request.post_data)["request"])
        if len(failures) < 3:
            route.abort()
        else:
            route.continue_()

    somebody.page.route("**/answer", fail)
    somebody.main_button.click()
    expect(somebody.page.locator("[data-part=banner]")).to_contain_text("The connection is gone")
    expect(somebody.page.locator("h1")).to_have_text("A short check")
    assert len(failures) == 3 and len(set(failures)) == 1


def test_the_results_are_behind_a_token(place: tuple[Served, Study], new_page: Callable[..., Any]) -> None:
    served, study = place
    page = new_page().page
    page.goto(f"{served.url}/study/{study.name}/results")
    page.locator("[name=token]").fill(next(iter(TOKEN.values())))
    page.get_by_role("button").click()
    eventually(lambda: "Flow of participants" in page.content(), "the report")


def test_the_folder_holds_only_what_a_study_needs(place: tuple[Served, Study]) -> None:
    _, study = place
    assert {path.name for path in Path(study.folder).iterdir()} <= {
        "study.toml", "study.db", "study.db-wal", "study.db-shm", "recordings",
    }  # fmt: skip
