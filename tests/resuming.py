"""A client that loses its connection and comes back, as the page does: it numbers what it says, keeps it until the
server has it, and asks for the events after the last that it has.

person = Resuming(served.ws)
person.begin()
person.cut()
person.type("still here")       # kept
person.back()                   # and sent now
"""

from __future__ import annotations

import json
import time
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.web_fakes import PATIENCE, Client


class Resuming:
    """`events`: every numbered event, in the order in which they came; `last`: number of the newest."""

    def __init__(self, url: str) -> None:
        self.url, self.client = url, Client(url)
        self.token = ""
        self.seq = self.last = 0
        self.events: list[dict[str, Any]] = []
        self.unconfirmed: list[dict[str, Any]] = []
        self.connected = True

    def begin(self) -> dict[str, Any]:
        """A session; returns what `session.created` says of it."""
        self.send({"type": "session.update", "session": {"slice_seconds": "adaptive"}})
        session: dict[str, Any] = self.until("session.created")["session"]
        self.token = session["resume"]["token"]
        return session

    def send(self, event: dict[str, Any]) -> None:
        """Now, or when it is back."""
        self.seq += 1
        self.unconfirmed.append({**event, "seq": self.seq})
        if self.connected:
            self._hand_over(self.unconfirmed[-1])

    def type(self, text: str) -> None:
        for key in text:
            self.send({"type": "duplex.input.edit", "delete": 0, "insert": key})

    def until(self, kind: str, seconds: float = PATIENCE, **values: Any) -> dict[str, Any]:
        """The first event of that type and those values, here already or to come."""
        for event in self.events:
            if event["type"] == kind and values.items() <= event.items():
                return event
        end = time.monotonic() + seconds
        while True:
            event = self._receive(max(0.0, end - time.monotonic()))
            if event["type"] == kind and values.items() <= event.items():
                return event

    def read(self) -> None:
        """What has come, without waiting."""
        try:
            while self.connected:
                self._receive(0)
        except TimeoutError:
            return

    def cut(self) -> None:
        """The network is gone; what was not read yet has not arrived."""
        self.connected = False
        self.client.cut()

    def back(self, url: str | None = None) -> dict[str, Any]:
        """Come back until it works; returns `session.resumed`."""
        while True:
            try:
                self.client = Client(f"{url or self.url}?resume={self.token}&after={self.last}")
                resumed: dict[str, Any] = json.loads(self.client.socket.recv(timeout=PATIENCE))
            except (ConnectionClosed, OSError, EOFError):
                continue
            break
        assert resumed["type"] == "session.resumed", resumed
        self.unconfirmed = [event for event in self.unconfirmed if event["seq"] > resumed["received"]]
        self.connected = True
        for event in self.unconfirmed:
            self._hand_over(event)
        return resumed

    def close(self) -> None:
        self.client.close()

    def __enter__(self) -> Resuming:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hand_over(self, event: dict[str, Any]) -> None:
        try:
            self.client.send(event)
        except ConnectionClosed:
            self.connected = False

    def _receive(self, seconds: float) -> dict[str, Any]:
        try:
            event: dict[str, Any] = json.loads(self.client.socket.recv(timeout=seconds))
        except ConnectionClosed:
            self.connected = False
            raise TimeoutError("the connection is cut") from None
        number = int(event["event_id"].removeprefix("event_"))
        assert number == self.last + 1, f"event {number} came after event {self.last}"
        self.last = number
        self.events.append(event)
        return event
