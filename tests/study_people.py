"""Participants of a study as values, without a database.

people = [person("p-1", duplex=6, strict=3), person("p-2", begins="strict", duplex=5, strict=5, status="withdrawn")]
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from webapp.study.frames import Person

SCALES = ("responsiveness", "faithfulness", "factuality", "human_likeness", "overall")


def person(
    name: str,
    duplex: int = 5,
    strict: int = 3,
    begins: str = "duplex",
    compare: dict[str, Any] | None = None,
    comment: str = "",
    about: dict[str, Any] | None = None,
    **more: Any,
) -> Person:
    """Who gave each system the same rating on every scale; `compare` by item, the rest as `Person` has it."""
    order = ("duplex", "strict") if begins == "duplex" else ("strict", "duplex")
    values = {"duplex": duplex, "strict": strict}
    answers: dict[str, dict[str, Any]] = {
        f"rate-{position}": {**dict.fromkeys(SCALES, values[system]), **({"comment": comment} if comment else {})}
        for position, system in enumerate(order, 1)
    }
    answers["compare"] = {"preference": "1-more", "guess": "unsure"} if compare is None else compare
    answers["about"] = about or {}
    given = {
        "status": "completed",
        "order": order,
        "sides": (1, 2),
        "step": "done",
        "minutes": 20.0,
        "answers": answers,
    }
    return Person(name, **(given | more))


def ratings(*pairs: tuple[int, int], scale: str = "overall") -> pd.DataFrame:
    """Of duplex and strict, a pair for each participant; every second one began with strict."""
    rows = []
    for number, (duplex, strict) in enumerate(pairs):
        at = (1, 2) if number % 2 else (2, 1)
        rows.append((f"p-{number:03d}", "duplex", at[0], scale, duplex))
        rows.append((f"p-{number:03d}", "strict", at[1], scale, strict))
    return pd.DataFrame(rows, columns=["participant", "system", "position", "scale", "value"])
