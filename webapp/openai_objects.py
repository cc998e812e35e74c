"""OpenAI's items and responses, as JSON objects; what is in them was read in their client's `openai.types.realtime`.

answer = Answer("duplex-1", "duplex-1", aloud=False, text="Hello.")
answer.place     # {"response_id": "duplex-1", "item_id": "item_duplex-1", "output_index": 0, "content_index": 0}
answer.response  # the object in response.created and response.done
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    """One response. `aloud`: it is spoken, and done once all its sound was sent (`sounded`). `told`: the client knows
    that it is done. `source`: the response of ours that it is, from sample `since` on (None: no sound of it came yet):
    ours may go on after an interruption where theirs begin anew."""

    id: str
    source: str
    aloud: bool
    previous: str | None = None
    since: int | None = None
    text: str = ""
    status: str | None = None
    reason: str | None = None
    sounded: bool = False
    told: bool = False

    @property
    def item_id(self) -> str:
        return f"item_{self.id}"

    @property
    def place(self) -> dict[str, Any]:
        """Where its content stands."""
        return {"response_id": self.id, "item_id": self.item_id, "output_index": 0, "content_index": 0}

    @property
    def part(self) -> dict[str, Any]:
        return {"type": "audio", "transcript": self.text} if self.aloud else {"type": "text", "text": self.text}

    @property
    def item(self) -> dict[str, Any]:
        begun = self.status is not None or bool(self.text)
        content = {**self.part, "type": "output_audio" if self.aloud else "output_text"}
        status = {None: "in_progress", "completed": "completed"}.get(self.status, "incomplete")
        return item_of(self.item_id, "assistant", [content] if begun else [], status)

    @property
    def response(self) -> dict[str, Any]:
        return response_of(
            self.id, self.status or "in_progress", [self.item] if self.status else [], self.aloud, self.reason
        )


def item_of(name: str, role: str, content: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    item = {"id": name, "object": "realtime.item", "type": "message", "role": role}
    return {**item, "status": status, "content": content}


def response_of(
    name: str, status: str, output: list[dict[str, Any]], aloud: bool, reason: str | None = None
) -> dict[str, Any]:
    return {
        "id": name,
        "object": "realtime.response",
        "status": status,
        "status_details": {"type": status, "reason": reason} if reason else None,
        "output": output,
        "output_modalities": ["audio" if aloud else "text"],
        "usage": None,
    }


def truncated(name: str, audio_end_ms: int) -> dict[str, Any]:
    kind = "conversation.item.truncated"
    return {"type": kind, "item_id": name, "content_index": 0, "audio_end_ms": audio_end_ms}
