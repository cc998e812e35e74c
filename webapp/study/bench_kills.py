"""Part of `duplex bench study`: people answer while the server is killed and started again; is every answer there once?

Each person does what the page does: an answer that was not acknowledged is sent again, with the same request. The talks
are entered by hand, for they need a model, and a server without one starts quickly:

    python -m webapp.study.bench_kills FOLDER PORT
"""

from __future__ import annotations

import random
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from webapp.study.database import Answer, Database, Participant
from webapp.study.definition import Study
from webapp.study.service import Service
from webapp.study.tally import Figures

if TYPE_CHECKING:
    from webapp.study.bench import ServerProcess

#: People who answer at the same time.
PEOPLE = 4
#: The server lives so long before it is killed; seconds.
SHORTEST, LONGEST = 0.05, 0.6
#: Seconds between two tries, and for one.
PAUSE, PATIENCE = 0.02, 20.0


@dataclass
class Person:
    """What one of them sent and heard. `acknowledged`: answers by participant, step and item."""

    url: str
    service: Service
    stop: threading.Event
    rng: random.Random
    acknowledged: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    sent: set[tuple[str, str, str]] = field(default_factory=set)
    steps: Counter[str] = field(default_factory=Counter)
    again: int = 0
    refused: list[str] = field(default_factory=list)

    def take_part(self) -> None:
        """One participant after the other, until it is time to stop."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE) as http:
            while not self.stop.is_set():
                self._go_the_way(http)

    def _go_the_way(self, http: httpx.Client) -> None:
        begun = self._send(http, "begin", {"language": "en"}, None)
        if begun is None:
            return
        token, state = begun["token"], begun["state"]
        while state["step"]["kind"] != "done":
            step = state["step"]
            if step["kind"] == "talk":
                talk = self.service.open_talk(token)
                self.service.update_talk(talk.id, Figures(60.0, 5, 1), ended=True)
            answers = answers_to(step["items"], self.rng)
            keys = {(state["participant"], step["key"], item): value for item, value in answers.items()}
            self.sent |= keys.keys()
            body = {"request": str(uuid.uuid4()), "step": step["key"], "answers": answers}
            reply = self._send(http, "answer", body, token)
            if reply is None:
                return
            self.acknowledged |= keys
            self.steps[state["participant"]] += 1
            state = reply["state"]

    def _send(self, http: httpx.Client, path: str, body: dict[str, Any], token: str | None) -> dict[str, Any] | None:
        """Until it is acknowledged; None if it is time to stop."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        while not self.stop.is_set():
            try:
                response = http.post(path, json=body, headers=headers)
            except httpx.TransportError:
                self.again += 1
                time.sleep(PAUSE)
                continue
            if response.status_code == 200:
                return dict(response.json())
            self.refused.append(f"{response.status_code} {response.json()['error']['code']}")
        return None


def answers_to(items: list[dict[str, Any]], rng: random.Random) -> dict[str, Any]:
    """Any answers to all items of a step."""
    answers: dict[str, Any] = {}
    for item in items:
        match item["kind"]:
            case "flag" | "check":
                answers[item["key"]] = True
            case "scale" | "number":
                answers[item["key"]] = rng.randint(item["low"], item["high"])
            case "choice":
                answers[item["key"]] = rng.choice(item["options"])
            case _:
                answers[item["key"]] = f"A remark, number {rng.randrange(10**9)}."
        if item["only_if"] and str(answers.get(item["only_if"][0])) not in item["only_if"][1:]:
            del answers[item["key"]]
    return answers


def run(study: Study, server: ServerProcess, kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill the server so often while people answer; figures for the table."""
    begun = time.monotonic()
    stop = threading.Event()
    with server:
        service = Service(study, Database(study.database_url))
        people = [Person(server.url, service, stop, random.Random(rng.random())) for _ in range(PEOPLE)]
        with ThreadPoolExecutor(PEOPLE) as pool:
            futures = [pool.submit(person.take_part) for person in people]
            try:
                for _ in range(kills):
                    time.sleep(rng.uniform(SHORTEST, LONGEST))
                    server.kill()
                    server.start()
                time.sleep(LONGEST)
            finally:
                stop.set()
            for future in futures:
                future.result()
        figures = compare(service.database, people)
        service.database.close()
    figures["kills"] = kills
    refused = Counter(code for person in people for code in person.refused)
    print(f"killed {kills} times in {time.monotonic() - begun:.0f} s, while {PEOPLE} people answered")
    for key, value in figures.items():
        print(f"  {key:26} {value:8}")
    if refused:
        print(f"  refused: {dict(refused)}")
    return figures


def compare(database: Database, people: list[Person]) -> dict[str, Any]:
    """What people were told against what is stored.

    lost: acknowledged answers that are missing or different. doubled: answers that are stored twice, or under a
    participant who is further on than their acknowledged steps and one more, which may have been on its way.
    """
    from sqlalchemy import select

    acknowledged = {key: value for person in people for key, value in person.acknowledged.items()}
    sent = {key for person in people for key in person.sent}
    steps = Counter[str]()
    for person in people:
        steps.update(person.steps)
    with database.reading() as session:
        stored = [((a.participant, a.step, a.item), a.value) for a in session.scalars(select(Answer))]
        ahead = [
            row.id for row in session.scalars(select(Participant)) if not 0 <= row.step - steps[row.id] <= 1
        ]  # fmt: skip
    values = dict(stored)
    return {
        "acknowledged": len(acknowledged),
        "sent_again": sum(person.again for person in people),
        "lost": sum(values.get(key) != value or key not in values for key, value in acknowledged.items()),
        "doubled": len(stored) - len(values) + len(set(values) - sent) + len(ahead),
    }


def main(folder: str, port: str) -> None:
    """A server of the study without a model."""
    from fastapi import FastAPI

    from duplex_runtime.speech.kit import Kit
    from webapp.admission import Admission, Limits
    from webapp.metrics import Metrics
    from webapp.realtime import Arena
    from webapp.serve import bind, server
    from webapp.settings import Settings
    from webapp.store import Store
    from webapp.study.site import OpenStudy

    listener = bind("127.0.0.1", int(port))
    settings = Settings(data=Path(folder) / "data")
    arena = Arena(
        settings, {}, {}, Store(settings.data), Kit("off"), ThreadPoolExecutor(1), Admission(Limits()), Metrics()
    )
    server(OpenStudy(Path(folder)).served(FastAPI(), arena, lambda socket: False)).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
