"""What a participant's page is told: where they are, what is asked there, and the words to say it with.

state_of(study, texts, languages, row, steps, talked)      # the JSON of GET /study/NAME/state

Nothing in it says which system is which before the last page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from webapp.study.assignment import Assignment, assign
from webapp.study.database import Participant
from webapp.study.definition import Study
from webapp.study.steps import Step, way_of
from webapp.study.tally import Figures
from webapp.study.texts import card_of, visible


def steps_of(study: Study, row: Participant) -> tuple[Step, ...]:
    """The participant's way. Before consent they have no place yet: the first step is the same for everybody."""
    if row.block is None or row.place is None or row.arm is None or row.seed is None:
        return way_of(study, assign(study, 0))
    order, labels = tuple(row.order or ()), tuple(row.labels or ())
    return way_of(study, Assignment(row.block, row.place, row.arm, order, labels, tuple(row.sides or ()), row.seed))


def talk_of(study: Study, talked: Figures) -> dict[str, int]:
    """How much of a talk was held, and how much is needed; whole seconds, rounded down."""
    return {
        "seconds": int(talked.seconds),
        "turns": talked.turns,
        "needed_seconds": study.tasks.min_seconds,
        "needed_turns": study.tasks.min_turns,
    }


def state_of(
    study: Study,
    texts: Mapping[str, str],
    languages: Mapping[str, str],
    row: Participant,
    steps: Sequence[Step],
    talked: Figures,
) -> dict[str, Any]:
    """See the module. `languages`: names by code, to choose from. `talked`: of the talk of this step so far."""
    step, labels = steps[row.step], row.labels or []
    done = step.kind == "done"
    completion = study.completion
    return {
        "participant": row.id,
        "step": {
            "key": step.key,
            "kind": step.kind,
            "position": step.position,
            "session": step.session,
            "sessions": study.tasks.sessions,
            "task": card_of(study, row.language, step.task) if step.task else None,
            "items": [item.shown() for item in step.items],
        },
        "progress": {"at": row.step + 1, "of": len(steps)},
        "label": labels[step.position - 1] if step.position else None,
        "labels": labels,
        "sides": row.sides or [],
        "language": row.language,
        "languages": languages if row.status == "begun" else {},
        "texts": visible(texts, step),
        "way": row.way,
        "title": study.title.of(row.language),
        "talk": talk_of(study, talked) if step.kind == "talk" else None,
        "completion": {"code": completion.code, "url": completion.url} if done and completion.code else None,
        "revealed": dict(zip(labels, row.order or [], strict=True)) if done else None,
    }
