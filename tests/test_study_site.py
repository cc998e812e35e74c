import asyncio
import io
import wave
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

import webapp.study.site as module
from duplex_runtime.errors import DuplexError
from duplex_runtime.speech.base import MOUTH_RATE
from tests.study_fakes import Guest, StudyPlace, Visitor, quick_study
from tests.study_files import TOKEN
from tests.web_fakes import Served, app_of
from webapp.app import open_study
from webapp.study.database import Database, Participant
from webapp.study.reader import Refused
from webapp.study.service import Service
from webapp.study.site import static_folder

RIGHT = next(iter(TOKEN.values()))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyPlace]:
    folder = tmp_path_factory.mktemp("site")
    page = folder / "static" / "study"
    page.mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>the page</title>")
    (page / "app.js").write_text("// a module")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "static_folder", lambda: folder / "static")
        for name, value in TOKEN.items():
            patch.setenv(name, value)
        with StudyPlace(folder, ('title = {en = "Talking', 'title = {en = "<b>Talking')) as place:
            yield place


@pytest.fixture
def root(place: StudyPlace) -> Iterator[httpx.Client]:
    with place.served.http() as root:
        yield root


# — the page —


def test_the_page_is_at_the_studys_name(root: httpx.Client) -> None:
    page = root.get("/study/my-study/")
    assert "the page" in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert root.get("/page/study/app.js").status_code == 200


@pytest.mark.parametrize("path", ["/", "/study/my-study", "/?PROLIFIC_PID=p&SESSION_ID=s"])
def test_all_ways_lead_to_the_page(root: httpx.Client, path: str) -> None:
    page = root.get(path, follow_redirects=True)
    assert page.url.path == "/study/my-study/"
    assert "the page" in page.text
    if "?" in path:
        assert page.url.params["PROLIFIC_PID"] == "p"


def test_another_study_is_not_here(root: httpx.Client) -> None:
    for response in (root.get("/study/other/"), root.get("/study/other/state"), root.post("/study/other/begin")):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "unknown_study"
    assert not root.get("/study/x/", headers={"Accept-Language": "zh"}).json()["error"]["message"].isascii()


def test_beside_the_study_nothing_is_served(root: httpx.Client) -> None:
    """The open page shows which system is which."""
    for path in ("/gradio_api/info", "/page/../study/study.db", "/page/%2e%2e/study.toml", "/docs"):
        assert root.get(path).status_code == 404, path
    assert root.post("/v1/sessions/abcdefgh/ratings").status_code == 404


def test_files_are_found_in_a_checkout_and_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (static_folder() / "wire.js").exists()
    package = tmp_path / "site-packages" / "webapp"
    (package / "static").mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(package / "study" / "site.py"))
    assert static_folder() == package / "static"


# — what is heard before the talks —


@pytest.mark.parametrize("name", ["loudspeaker", "practice"])
def test_a_sentence_to_try_the_loudspeaker_with(tmp_path: Path, name: str) -> None:
    with StudyPlace(tmp_path) as place:
        sound = place.http.get(f"voice/{name}")
        assert sound.headers["content-type"] == "audio/wav"
        with wave.open(io.BytesIO(sound.content)) as file:
            assert file.getframerate() == MOUTH_RATE and file.getnframes() > 1000
        assert place.http.get("voice/other").status_code == 404


# — results —


def test_without_a_token_the_results_ask_for_it(root: httpx.Client) -> None:
    page = root.get("/study/my-study/results")
    assert page.status_code == 200
    assert 'type="password"' in page.text
    assert "<b>Talking" not in page.text


@pytest.mark.parametrize("token", ["wrong", RIGHT[:-1], RIGHT + "0", "ü"])
def test_a_wrong_token_shows_no_results(root: httpx.Client, token: str) -> None:
    for page in (
        root.post("/study/my-study/results", data={"token": token}),
        root.get("/study/my-study/results", headers={"Authorization": f"Bearer {token}x".encode()}),
    ):
        assert page.status_code == 403
        assert "not the researcher" in page.text
        assert "Flow of participants" not in page.text


def test_a_token_in_the_address_counts_for_nothing(root: httpx.Client) -> None:
    page = root.get("/study/my-study/results", params={"token": RIGHT})
    assert "Flow of participants" not in page.text
    assert 'type="password"' in page.text


def test_a_token_of_a_megabyte_is_none(root: httpx.Client) -> None:
    page = root.post("/study/my-study/results", content=b"token=" + b"x" * 2_000_000)
    assert 'type="password"' in page.text


def test_the_right_token_shows_the_results(place: StudyPlace, root: httpx.Client) -> None:
    Guest(place)
    for page in (
        root.post("/study/my-study/results", data={"token": RIGHT}),
        root.get("/study/my-study/results", headers={"Authorization": f"Bearer {RIGHT}"}),
    ):
        assert page.status_code == 200
        assert "Flow of participants" in page.text and "opened the first page" in page.text
        assert "<b>Talking" not in page.text
        assert page.headers["cache-control"] == "no-store"


def test_results_that_cannot_be_made_say_why(place: StudyPlace, root: httpx.Client) -> None:
    file = place.study.folder / "study.toml"
    before = file.read_text()
    file.write_text(before.replace("seed = ", "seeds = "))
    try:
        page = root.post("/study/my-study/results", data={"token": RIGHT})
    finally:
        file.write_text(before)
    assert page.status_code == 500
    assert "could not be made" in page.text and "seeds" in page.text


def test_a_server_without_a_token_shows_nobody_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TOKEN:
        monkeypatch.delenv(name, raising=False)
    with StudyPlace(tmp_path) as place:
        for token in ("", "x"):
            page = place.http.post("results", data={"token": token})
            assert page.status_code == 403
            assert "set DUPLEX_STUDY_TOKEN" in page.text


# — the server —


def test_a_server_of_a_study_holds_nothing_else(tmp_path: Path) -> None:
    study = quick_study(tmp_path / "study", ('model = "embedded"', 'model = "another"'))
    app = app_of(tmp_path / "data", study=study.folder)
    assert app.state.arena.settings.model == "another"
    with Served(app) as served, served.http() as http:
        assert http.post(f"study/{study.name}/begin", json={"language": "en"}).status_code == 200
        assert http.get("/", follow_redirects=False).headers["location"] == f"study/{study.name}/"
        assert http.post("/v1/sessions/abcdefgh/ratings").status_code == 404


def test_a_study_with_mistakes_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("name = 5\n")
    with pytest.raises(Refused, match=r"study\.toml line 1"):
        open_study(tmp_path)
    with pytest.raises(DuplexError):
        open_study(tmp_path / "missing")


# — retention —


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    study = quick_study(tmp_path / "study", ("retention_days = 365", "retention_days = 30"))
    database = Database(study.database_url)
    yield Service(study, database)
    database.close()


class Days:
    """In the place of `datetime`: each look at the clock gives the next day of 2030."""

    def __init__(self, *days: int) -> None:
        self.days = list(days)

    def now(self, zone: object) -> datetime:
        day = self.days.pop(0) if len(self.days) > 1 else self.days[0]
        return datetime(2030, 1, day, tzinfo=UTC)


def left_after(service: Service, monkeypatch: pytest.MonkeyPatch, *days: int) -> int:
    """How many of one participant, of 2 December 2029, are there after looks at these days."""
    visitor = Visitor(service)
    visitor.answer()
    with service.database.writing() as session:
        session.get_one(Participant, visitor.id).created_at = "2029-12-02T00:00:00.000+00:00"
    clock = Days(*days)
    monkeypatch.setattr(module, "datetime", clock)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)

    async def look() -> None:
        async with module.retention(service):
            while len(clock.days) > 1:
                await asyncio.sleep(0.001)

    asyncio.run(look())
    with service.database.reading() as session:
        return int(session.get(Participant, visitor.id) is not None)


def test_what_is_due_at_two_looks_is_deleted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_after(service, monkeypatch, 3, 3, 3, 3) == 0


def test_what_is_not_due_stays(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_after(service, monkeypatch, 1, 1, 1, 1) == 1


def test_a_clock_that_is_wrong_for_one_look_deletes_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_after(service, monkeypatch, 31, 1, 31, 1, 1) == 1


def test_a_look_that_fails_is_not_the_last(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = module.due, []

    def sometimes(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "due", sometimes)
    assert left_after(service, monkeypatch, 3, 3, 3, 3, 3) == 0
    assert "ZeroDivisionError" in caplog.text
