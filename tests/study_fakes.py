"""Studies that go quickly, participants who go their way, and a study behind a real server.

service = Service(quick_study(tmp_path), Database(url))
visitor = Visitor(service)
visitor.go_to("rate-1")

with StudyPlace(tmp_path) as place:
    guest = Guest(place)
    guest.go_to("talk-1-1")
    with guest.talk() as client: …
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from duplex_runtime.loop import Loop
from tests.speech_fakes import FakeKit
from tests.study_files import study
from tests.web_fakes import PATIENCE, Client, FakeModels, Served, eventually, room
from webapp.app import from_here
from webapp.metrics import Metrics
from webapp.realtime import Arena
from webapp.settings import Settings
from webapp.store import Store
from webapp.study.database import Talk
from webapp.study.definition import Study
from webapp.study.service import Refusal, Service
from webapp.study.site import OpenStudy
from webapp.study.tally import Figures
from webapp.worker import Worker

Change = tuple[str, str]

_QUICK: tuple[Change, ...] = (
    ('languages = ["en"]', 'languages = ["en", "zh"]'),
    ("sessions = 3", "sessions = 2"),
    ("min_seconds = 60", "min_seconds = 20"),
    ("min_turns = 3", "min_turns = 2"),
)
PROLIFIC: tuple[Change, ...] = (
    ('source = ""', 'source = "prolific"'),
    ('# code = "FILL IN"', 'code = "C0DE"'),
    ('# url = "https://app.prolific.com/submissions/complete?cc=FILL IN"', 'url = "https://example.org/?cc=C0DE"'),
)
VOICE: tuple[Change, ...] = (('way = "typing"', 'way = "either"'), ("# audio = true", "audio = true"))


def quick_study(folder: Path, *changes: Change) -> Study:
    """The shipped study in two languages, with short talks; then the changes."""
    return study(folder, *_QUICK, *changes)


def fill(step: dict[str, Any]) -> dict[str, Any]:
    """Answers to every required item of a step that a state shows."""
    answers: dict[str, Any] = {}
    for item in step["items"]:
        only_if = item["only_if"]
        if item["required"] and not (only_if and str(answers.get(only_if[0])) not in only_if[1:]):
            match item["kind"]:
                case "flag" | "check":
                    answers[item["key"]] = True
                case "scale" | "number":
                    answers[item["key"]] = item["low"]
                case "choice":
                    answers[item["key"]] = item["options"][0]
                case _:
                    answers[item["key"]] = "some text"
    return answers


class Visitor:
    """One participant, in the hands of a test."""

    def __init__(self, service: Service, language: str = "en", **recruit: str) -> None:
        self.service = service
        self.token, self.state = service.begin(language, recruit, None)

    @property
    def id(self) -> str:
        return str(self.state["participant"])

    @property
    def step(self) -> str:
        return str(self.state["step"]["key"])

    def answer(self, answers: Any = None, step: str | None = None, request: str | None = None) -> dict[str, Any]:
        """Answer a step, by default the current one as `fill` does."""
        answers = fill(self.state["step"]) if answers is None else answers
        self.state = self.service.answer(self.token, request or str(uuid.uuid4()), step or self.step, answers)
        return self.state

    def talk(self, seconds: float = 60.0, turns: int = 5, interruptions: int = 1) -> None:
        """Hold the talk of the current step."""
        opened = self.service.open_talk(self.token)
        self.service.update_talk(opened.id, Figures(seconds, turns, interruptions), ended=True)

    def go_to(self, step: str) -> None:
        """Answer every step before this one."""
        while self.step != step:
            if self.state["step"]["kind"] == "talk":
                self.talk()
            self.answer()


def rows(service: Service, table: Any, **values: Any) -> list[Any]:
    """Rows of a table with these values."""
    with service.database.reading() as session:
        return list(session.scalars(select(table).filter_by(**values)))


def number(service: Service, table: Any) -> int:
    """How many rows a table has."""
    with service.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def refused(call: Callable[[], Any], code: str) -> Refusal:
    """The refusal that the call raises."""
    with pytest.raises(Refusal) as raised:
        call()
    assert raised.value.code == code
    return raised.value


def leave_files(service: Service, visitor: Visitor) -> list[Path]:
    """A recording and a voice for each talk of a visitor."""
    folder = service.study.recordings
    folder.mkdir(exist_ok=True)
    files = []
    for talk in rows(service, Talk, participant=visitor.id):
        for name in (talk.recording, talk.recording.replace(".jsonl", ".wav")):
            files.append(folder / name)
            files[-1].write_text("words")
    return files


class StudyPlace:
    """A study behind a real server, over models that answer at once."""

    def __init__(self, folder: Path, *changes: Change, kit: Any = None, **settings: Any) -> None:
        self.study = quick_study(folder / "study", *changes)
        self.opened = OpenStudy(self.study.folder)
        self.service = self.opened.service
        loaded = {system: FakeModels()("embedded", system) for system in ("duplex", "turns")}
        self.settings = Settings(data=folder / "data", **settings)
        self.workers = {
            system: Worker(system, Loop(model.engine(self.settings.slots))) for system, model in loaded.items()
        }
        self.pool = ThreadPoolExecutor(2)
        store = Store(self.settings.data)
        arena = Arena(self.settings, loaded, self.workers, store, kit or FakeKit(), self.pool, room(), Metrics())
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.state.arena = arena
        self.served = Served(self.opened.served(app, arena, lambda socket: from_here(socket, self.settings.origins)))
        self.http = httpx.Client(
            base_url=f"{self.served.url}/study/{self.study.name}/", timeout=PATIENCE, trust_env=False
        )

    def quiet(self) -> None:
        """Wait until nobody talks."""
        eventually(lambda: self.served.sessions() == 0, "nobody talks")

    def __enter__(self) -> StudyPlace:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.served.stop()
        for worker in self.workers.values():
            worker.stop()
        self.pool.shutdown()


class Guest:
    """One participant over HTTP."""

    def __init__(self, place: StudyPlace, language: str = "en", token: str | None = None, **recruit: str) -> None:
        self.place, self.token = place, token
        begun = self.post("begin", {"language": language, "recruit": recruit}).json()
        self.token, self.state = begun["token"], begun["state"]

    @property
    def step(self) -> str:
        return str(self.state["step"]["key"])

    def post(self, path: str, body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        return self.place.http.post(path, content=content, headers=headers)

    def answer(self, answers: Any = None, step: str | None = None, request: str | None = None) -> httpx.Response:
        answers = fill(self.state["step"]) if answers is None else answers
        body = {"request": request or str(uuid.uuid4()), "step": step or self.step, "answers": answers}
        response = self.post("answer", body)
        self.state = response.json().get("state", self.state)
        return response

    def go_to(self, step: str) -> None:
        """Answer every step before this one; talks are held by hand."""
        while self.step != step:
            if self.state["step"]["kind"] == "talk":
                opened = self.place.service.open_talk(self.token)
                self.place.service.update_talk(opened.id, Figures(60.0, 5, 1), ended=True)
            response = self.answer()
            assert response.status_code == 200, response.text

    def talk(self, token: str | None = None) -> Client:
        """A WebSocket of their talk."""
        base = self.place.served.url.replace("http", "ws")
        return Client(f"{base}/study/{self.place.study.name}/realtime?token={quote(token or self.token or '')}")
