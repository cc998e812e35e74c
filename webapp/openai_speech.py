"""What the person says aloud, as OpenAI's events: each utterance becomes an item of the conversation.

speech = Speech(Items())
speech.started({"type": "input_audio_buffer.speech_started", "at": 3.2, …})    # → their events
speech.transcribed(…)
speech.stopped(…)
speech.commit()                      # the client ended the utterance itself, noticed or not
"""

from __future__ import annotations

from typing import Any

from webapp.openai_objects import item_of

Given = dict[str, Any]


class Items:
    """The items of a conversation in their order. `last`: the id of the last one."""

    def __init__(self) -> None:
        self.last: str | None = None
        self._made = 0

    def name(self) -> str:
        """An id for an item of the person that has none."""
        self._made += 1
        return f"item_user-{self._made}"

    def follow(self, name: str) -> str | None:
        """One more item; returns the one before it."""
        previous, self.last = self.last, name
        return previous


class Speech:
    """See the module."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._name: str | None = None  # of the utterance that goes on, or was committed before it was noticed
        self._previous: str | None = None
        self._committed = False  # the client knows of the item
        self._began_at: float | None = None
        self._words = ""

    def _begin(self) -> str:
        self._name, self._previous, self._committed = self._items.name(), None, False
        self._began_at, self._words = None, ""
        return self._name

    def started(self, event: Given) -> list[Given]:
        """Of input_audio_buffer.speech_started."""
        name = self._name if self._name and self._began_at is None else self._begin()
        self._began_at = event["at"]
        return [{"type": event["type"], "item_id": name, "audio_start_ms": round(event["at"] * 1000)}]

    def transcribed(self, event: Given) -> list[Given]:
        """Of conversation.item.input_audio_transcription.delta."""
        name = self._name or self._begin()
        self._words += event["delta"]
        return [{"type": event["type"], "item_id": name, "content_index": 0, "delta": event["delta"]}]

    def stopped(self, event: Given) -> list[Given]:
        """Of input_audio_buffer.speech_stopped: all words of the utterance are there."""
        name = self._name or self._begin()
        seconds = max(0.0, event["at"] - (event["at"] if self._began_at is None else self._began_at))
        transcript = self._words.strip()
        told = [
            {"type": event["type"], "item_id": name, "audio_end_ms": round(event["at"] * 1000)},
            *self._commit(name),
        ]
        told.append({
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": name,
            "content_index": 0,
            "transcript": transcript,
            "usage": {"type": "duration", "seconds": round(seconds, 3)},
        })  # fmt: skip
        item = item_of(name, "user", [{"type": "input_audio", "transcript": transcript}])
        told.append({"type": "conversation.item.done", "previous_item_id": self._previous, "item": item})
        self._name = None
        return told

    def commit(self) -> list[Given]:
        """The client says that the utterance is over."""
        return self._commit(self._begin() if self._name is None or self._committed else self._name)

    def _commit(self, name: str) -> list[Given]:
        if self._committed:
            return []
        self._committed, self._previous = True, self._items.follow(name)
        item = item_of(name, "user", [{"type": "input_audio", "transcript": None}], "in_progress")
        return [
            {"type": "input_audio_buffer.committed", "item_id": name, "previous_item_id": self._previous},
            {"type": "conversation.item.added", "previous_item_id": self._previous, "item": item},
        ]
