"""How many people a server lets in and for how long: options of `duplex serve`, and the environment.

crowd = Crowd.of(os.environ)                     # DUPLEX_PLACES, DUPLEX_SESSION_MINUTES …
limits = crowd.limits(crowd.places or measure(models, engines).places)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from duplex_runtime.errors import BadInput
from webapp.admission import Limits

#: On a Space, where anybody may come.
SPACE_PER_PERSON = 2


@dataclass(frozen=True)
class Crowd:
    """places: conversations at once, None: what this machine serves in time (webapp/capacity.py). per_person: of them,
    for one person. session_minutes, idle_minutes: after which a conversation ends, altogether and without a word of the
    person. None: no limit. trust_proxy: a proxy stands before the server and says for whom it asks.
    """

    places: int | None = None
    per_person: int | None = None
    session_minutes: float | None = None
    idle_minutes: float | None = None
    trust_proxy: bool = False

    @staticmethod
    def of(environment: Mapping[str, str]) -> Crowd:
        """Defaults, with DUPLEX_PLACES, DUPLEX_PER_PERSON, DUPLEX_SESSION_MINUTES, DUPLEX_IDLE_MINUTES and
        DUPLEX_TRUST_PROXY (1 or 0) in their place where set. On a Space its proxy is trusted, and one person has two
        places. Raises BadInput."""
        space = "SPACE_ID" in environment
        get = environment.get
        if (trust := get("DUPLEX_TRUST_PROXY", "1" if space else "0")) not in ("0", "1"):
            raise BadInput(f"DUPLEX_TRUST_PROXY: expected 1 or 0, got {trust[:40]!r}")
        return Crowd(
            number("DUPLEX_PLACES", get("DUPLEX_PLACES", "auto"), "auto"),
            number("DUPLEX_PER_PERSON", get("DUPLEX_PER_PERSON", str(SPACE_PER_PERSON) if space else "none")),
            minutes("DUPLEX_SESSION_MINUTES", get("DUPLEX_SESSION_MINUTES", "none")),
            minutes("DUPLEX_IDLE_MINUTES", get("DUPLEX_IDLE_MINUTES", "none")),
            trust == "1",
        )

    def limits(self, places: int) -> Limits:
        """For `Admission`, with so many places."""
        session, idle = (None if each is None else 60 * each for each in (self.session_minutes, self.idle_minutes))
        return Limits(places, per_person=self.per_person, session_seconds=session, idle_seconds=idle)


def number(name: str, text: str, nothing: str = "none") -> int | None:
    """What people write for a number of places: from 1, or the word for no number. Raises BadInput; `name` is what it
    stands for."""
    if text == nothing:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 9 and int(text) >= 1):
        raise BadInput(f"{name}: expected {nothing} or a whole number from 1, got {text[:40]!r}")
    return int(text)


def minutes(name: str, text: str) -> float | None:
    """The same for minutes: more than 0 and up to a day, or `none`."""
    if text == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1440:
        raise BadInput(f"{name}: expected none or minutes, more than 0 and up to 1440, got {text[:40]!r}")
    return value
