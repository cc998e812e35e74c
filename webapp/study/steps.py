"""The participant's way through a study, as values: its steps, what each asks, and what is an answer to it.

    steps = way_of(study, assign(study, 0))
    [step.key for step in steps]         # consent, device, practice, talk-1-1, …, rate-1, talk-2-1, …, about, done
    check_answers(steps[0], {"agree": True})      # {"agree": True, "publish": False}; raises AnswersRefused

Nothing that comes from a page is trusted: not its types, not its sizes, not its keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

from duplex_runtime.errors import BadInput
from webapp.study.assignment import Assignment, shuffled
from webapp.study.definition import BUILT_IN, LONGEST_ANSWER, Question, Study

Answer = str | int | bool

#: Strengths of a preference, from the strongest.
STRENGTHS = ("much", "more", "slightly")
UNSURE = "unsure"
SCALE_LOW, SCALE_HIGH = 1, 7
SURE_LOW, SURE_HIGH = 1, 5
#: Right answers of attention checks: none that somebody gives who always chooses an end or the middle.
ATTENTION = (2, 3, 5, 6)

#: What may be wrong with an answer; texts/ has a sentence for each under `error.`.
CODES = (
    "missing", "unknown_item", "not_a_flag", "must_agree", "must_work", "not_in_scale", "not_an_option",
    "not_a_whole_number", "out_of_range", "not_text", "too_long",
)  # fmt: skip


class AnswersRefused(BadInput):
    """Answers to a step are not of its form.

    `items`: the message code of each item that is wrong; empty if what came is no object at all.
    """

    def __init__(self, message: str, items: dict[str, str]) -> None:
        super().__init__(message)
        self.items = items


@dataclass(frozen=True)
class Item:
    """One thing that a step asks.

    `kind`: scale (a whole number from `low` to `high`), number (the same), choice (one of `options`), text (at most
    `longest` characters), flag (true or false; if required: true), check (something the page tried: true if it worked;
    if required: true). `text`: the key of its words in texts/; those of an option or a point of a scale are under
    `text.option`. `only_if`: the key of an earlier item of the step and those of its answers upon which this one is
    asked; empty if always. `right`: the right answer of an attention check, which never leaves the server.
    """

    key: str
    kind: str
    text: str
    required: bool = True
    low: int = 0
    high: int = 0
    options: tuple[str, ...] = ()
    longest: int = 0
    only_if: tuple[str, ...] = ()
    right: int | None = None

    def shown(self) -> dict[str, Any]:
        """What the page may know: all but `right`, ready for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "right"}


@dataclass(frozen=True)
class Step:
    """One page of the way. `position` of the system and `session` with it count from 1; 0 where there is none.

    `kind`: consent, device, practice, talk, rate, compare, about or done. `task`: key of the topic card, or "".
    """

    key: str
    kind: str
    position: int = 0
    session: int = 0
    task: str = ""
    items: tuple[Item, ...] = ()


def way_of(study: Study, assignment: Assignment) -> tuple[Step, ...]:
    """Every step of a participant, in order. A page that would ask nothing is left out, but for talks and the end."""
    steps = [_consent(study), _device(study), Step("practice", "practice", items=(_check("interrupted", "practice"),))]
    cards = cards_of(study, assignment)
    for position in range(1, len(assignment.order) + 1):
        for session, card in enumerate(cards, 1):
            steps.append(Step(f"talk-{position}-{session}", "talk", position, session, card))
        steps.append(Step(f"rate-{position}", "rate", position, items=_rating(study, assignment, position)))
    compare = Step("compare", "compare", items=_comparison(study))
    about = Step("about", "about", items=tuple(map(_question, study.about_you.questions)))
    steps += [step for step in (compare, about) if step.items]
    return (*steps, Step("done", "done"))


def cards_of(study: Study, assignment: Assignment) -> tuple[str, ...]:
    """Keys of the topic cards of the sessions with a system: the same for each system, so that like is compared with
    like. They are drawn from the sheet for each participant; in the paper's protocol they are its first ones."""
    keys = tuple(card.key for card in study.tasks.sheet)
    drawn = keys if study.protocol == "paper" else shuffled(keys, assignment.seed, "cards")
    return drawn[: study.tasks.sessions]


def check_answers(step: Step, answers: Any) -> dict[str, Answer]:
    """The answers as they are to be stored: known items only, in their order, and flags that were left out as false.

    Texts lose nothing but characters that no database takes. Items that were not asked, given what was answered, are
    left out. Raises AnswersRefused, with a code for every item that is wrong.
    """
    if not isinstance(answers, dict):
        raise AnswersRefused(f"{step.key}: expected an object of answers by item, got {type(answers).__name__}", {})
    taken: dict[str, Answer] = {}
    wrong: dict[str, str] = {}
    for item in step.items:
        if item.only_if and str(taken.get(item.only_if[0])) not in item.only_if[1:]:
            continue
        try:
            answer = _answer(item, answers.get(item.key))
        except _Wrong as error:
            wrong[item.key] = str(error)
        else:
            if answer is not None:
                taken[item.key] = answer
    known = {item.key for item in step.items}
    unknown = [key for key in answers if key not in known]
    wrong |= {str(key)[:80]: "unknown_item" for key in unknown[:10]}
    if wrong:
        named = ", ".join(f"{key} ({code})" for key, code in wrong.items())
        raise AnswersRefused(f"{step.key}: these answers are not of the form asked for: {named}", wrong)
    return taken


def failed_checks(steps: Sequence[Step], answers: Mapping[str, Mapping[str, Any]]) -> int:
    """How many attention checks got a wrong answer; those without one do not count. `answers`: by step and item."""
    checks = [(answers.get(step.key, {}).get(item.key), item.right) for step in steps for item in step.items]
    return sum(right is not None and given is not None and given != right for given, right in checks)


class _Wrong(Exception):
    """Carries a message code."""


def _answer(item: Item, value: Any) -> Answer | None:
    """The answer as it is to be stored, or None if there is none and none is needed; raises _Wrong."""
    if value is None or (isinstance(value, str) and not value.strip()):
        if item.required:
            raise _Wrong("missing")
        return False if item.kind in ("flag", "check") else None
    match item.kind:
        case "flag" | "check":
            if not isinstance(value, bool):
                raise _Wrong("not_a_flag")
            if item.required and not value:
                raise _Wrong("must_agree" if item.kind == "flag" else "must_work")
            return value
        case "scale" | "number":
            if not isinstance(value, int) or isinstance(value, bool):
                raise _Wrong("not_in_scale" if item.kind == "scale" else "not_a_whole_number")
            if not item.low <= value <= item.high:
                raise _Wrong("not_in_scale" if item.kind == "scale" else "out_of_range")
            return value
        case "choice":
            if not isinstance(value, str) or value not in item.options:
                raise _Wrong("not_an_option")
            return value
        case _:
            return _text(item, value)


def _text(item: Item, value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong("not_text")
    if len(value) > item.longest:
        raise _Wrong("too_long")
    # halves of surrogate pairs are no UTF-8, and PostgreSQL takes no NUL
    return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _check(key: str, page: str, **options: Any) -> Item:
    return Item(key, "check", f"{page}.{key}", **options)


def _consent(study: Study) -> Step:
    items = [Item("agree", "flag", "consent.agree")]
    if study.consent.publish:
        items.append(Item("publish", "flag", "consent.publish", required=False))
    if study.consent.audio:
        items.append(Item("audio", "flag", "consent.audio", required=False))
    return Step("consent", "consent", items=tuple(items))


def _device(study: Study) -> Step:
    items = [_check("keyboard", "device")]
    if study.way == "either":
        items.append(Item("way", "choice", "device.way", options=("keys", "speech")))
    if study.way != "typing":
        only_if = ("way", "speech") if study.way == "either" else ()
        items += [_check(key, "device", only_if=only_if) for key in ("microphone", "loudspeaker")]
        items += [_check(key, "device", only_if=only_if, required=False) for key in ("headphones", "echo")]
    return Step("device", "device", items=tuple(items))


def _rating(study: Study, assignment: Assignment, position: int) -> tuple[Item, ...]:
    """Scales, with the attention checks of this page at places of their own, then the comment."""
    systems = len(study.systems)
    items = [
        Item(scale, "scale", f"rate.{scale}", low=SCALE_LOW, high=SCALE_HIGH) for scale in study.ratings.scales
    ]  # fmt: skip
    for number in range(1, study.ratings.attention + 1):
        if (number - 1) % systems + 1 == position:
            right = shuffled(ATTENTION, assignment.seed, "attention", number)[0]
            place = shuffled(range(1, len(items) + 1), assignment.seed, "attention's place", number)[0]
            key, text = f"attention-{number}", f"attention.pick-{right}"
            items.insert(place, Item(key, "scale", text, low=SCALE_LOW, high=SCALE_HIGH, right=right))
    if study.ratings.comment:
        items.append(Item("comment", "text", "rate.comment", required=False, longest=LONGEST_ANSWER))
    return tuple(items)


def _comparison(study: Study) -> tuple[Item, ...]:
    positions = range(1, len(study.systems) + 1)
    items = []
    if study.compare.preference:
        for first, second in combinations(positions, 2):
            pair = f"{first}-{second}"
            options = [f"{first}-{how}" for how in STRENGTHS] + [f"{second}-{how}" for how in reversed(STRENGTHS)]
            key = "preference" if len(positions) == 2 else f"preference-{pair}"
            items.append(Item(key, "choice", f"compare.preference-{pair}", options=tuple(options)))
    if study.compare.guess:
        guesses = tuple(map(str, positions))
        items.append(Item("guess", "choice", "compare.guess", options=(*guesses, UNSURE)))
        only_if = ("guess", *guesses)
        items.append(Item("guess_sure", "scale", "compare.guess_sure", low=SURE_LOW, high=SURE_HIGH, only_if=only_if))
    return tuple(items)


def _question(question: Question) -> Item:
    own = question.text is not None or question.key not in BUILT_IN
    return Item(
        question.key,
        question.kind,
        f"{'own' if own else 'about'}.{question.key}",
        required=question.required,
        low=question.low,
        high=question.high,
        options=tuple(option.key for option in question.options),
        longest=question.longest,
    )
