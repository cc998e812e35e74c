"""What happens in a talk, as the panel sees it: acts of the person, and pieces of what the system said.

acts = guess_acts(inputs, pieces)       # of a real person, who does not say what they mean
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.noise import normal
from duplex_runtime.events import Edit, Enter, Input, SpeechEnd, SpeechStart, UserText

#: What the person does, and what it asks of the system:
#: `turn` an answer · `stop` silence · `question` an answer in the middle of another, which then goes on ·
#: `resume` that the answer which was stopped goes on · `backchannel`, `tic`, `aside` nothing at all.
KINDS = ("turn", "stop", "question", "resume", "backchannel", "tic", "aside")
#: Those that want an answer.
ASKING = ("turn", "question", "resume")


@dataclass(frozen=True)
class Act:
    """One thing that the person did: from its first key or sound to its last, pauses inside it included, in seconds.

    guessed: a recording of a real person does not say what they meant; it was told from the words.
    """

    kind: str
    begin: float
    end: float
    text: str
    guessed: bool = False


@dataclass(frozen=True)
class Piece:
    """Text of the system that was seen or heard, from `at` to `until` (seconds)."""

    at: float
    until: float
    text: str
    response_id: str


#: Without a key or a sound for so long, an utterance is over (seconds).
KEYS_GAP_SECONDS, SPEECH_GAP_SECONDS = 2.0, 1.5


def guess_acts(inputs: Sequence[tuple[float, Input]], pieces: Sequence[Piece]) -> list[Act]:
    """Utterances of a real person: what lies close together, up to Enter. One that falls into an answer and is nothing
    but a backchannel is one; nothing but a stop, a stop; everything else wants an answer. Tics and words for somebody
    else cannot be told apart from that."""
    acts: list[Act] = []
    text, begin, end, spoken = "", 0.0, 0.0, False

    def close() -> None:
        nonlocal text
        if text.strip():
            acts.append(Act(_kind(text, begin, pieces), begin, end, text.strip(), guessed=True))
        text = ""

    onset: float | None = None
    for at, event in inputs:
        gap = SPEECH_GAP_SECONDS if spoken else KEYS_GAP_SECONDS
        # words may become certain long after one another while the sound goes on
        talking = onset is not None and isinstance(event, UserText) and event.spoken
        if text and at - end > gap and not talking and isinstance(event, UserText | SpeechStart):
            close()
        match event:
            case SpeechStart():
                onset = at if onset is None else onset
            case UserText(words, aloud):
                if not text.strip():
                    begin, spoken = (onset if aloud and onset is not None else at), aloud
                text += words
                end = at
            case Edit(delete):
                text, end = text[: max(0, len(text) - delete)], at
            case SpeechEnd(ended_at):
                end, onset = (ended_at if text.strip() and ended_at >= begin else end), None
            case Enter():
                end = at
                close()
    close()
    return acts


def _kind(text: str, begin: float, pieces: Sequence[Piece]) -> str:
    words = normal(text)
    phrases = load().phrases
    if any(piece.at <= begin < piece.until + 0.5 for piece in pieces):
        if words in {normal(phrase) for phrase in phrases["backchannels"]}:
            return "backchannel"
        if words in {normal(phrase) for phrase in phrases["stop"]}:
            return "stop"
    return "turn"
