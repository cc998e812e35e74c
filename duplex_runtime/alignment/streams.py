"""Endless talk for the embedded model, kind after kind in one rhythm: time slices, or turns.

talk = duplex_talk(source, vocabulary.encode, rng, keep)
extend(talk)             # one more kind at the end of talk.pairs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from duplex_runtime.alignment import kinds
from duplex_runtime.alignment.builder import QUIET, Builder, Pair
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.noise import bare, made_up

#: So many things are kept in mind (`duplex.Memory`): what was told before that is not asked for.
NOTES = 6


def memory(b: Builder) -> None:
    """Told a name or something personal, and asked for it: at once, later, or without having been told."""
    assert isinstance(b.source, Source)
    kinds_told = [n.about for n in b.notes[-NOTES + 2 :]]
    about = b.rng.choice(["name", *b.source.personal])
    lines = b.source.remember(about)
    before = b.told.get(about)
    if before is None and b.rng.random() < 0.15:
        b.say(b.typed(b.rng.choice(lines["ask"])))
        return b.speak(b.encode(b.rng.choice(lines["unknown"])))
    if before is None or about not in kinds_told or b.rng.random() < 0.15:
        b.told[about] = before = _value(b, lines["values"])
        b.say(b.typed(b.rng.choice(lines["tell"]).format(value=before)))
        b.note(about, b.rng.choice(lines["ok"]).format(value=before))
        for _ in range(b.rng.choice((0, 0, 1, 2))):
            (_turn if b.whole else kinds.uninterrupted)(b)
    b.say(b.typed(b.rng.choice(lines["ask"])))
    return b.speak(b.encode(b.rng.choice(lines["answer"]).format(value=before)))


def _value(b: Builder, values: Sequence[str]) -> str:
    """What is told: one of `values`, or a word that nobody expects. Names cannot all be known: it has to listen."""
    assert isinstance(b.source, Source)
    if b.source.held_out or b.rng.random() < 0.5:
        return b.rng.choice(values)
    if values[0][0].isupper() or b.rng.random() < 0.3:
        name = made_up(b.rng)
        return name if values[0][0].isupper() else name.lower()
    things = b.source.said(b.source.corpus.unknown["slots"]["thing"], "thing")
    return b.rng.choice(things).removeprefix("the ").removeprefix("a ").removeprefix("an ")


def steered_story(b: Builder) -> None:
    """A story that the listener steers while it is told: somebody new, another place, a mood, its end."""
    assert isinstance(b.source, Source)
    stories, rng = b.source.corpus.stories, b.rng
    question, exchange = b.source.story(rng)
    hero = exchange.id.removeprefix("story-")
    b.say(b.typed(question))
    rest = b.cut(exchange)
    for _ in range(rng.choice((1, 1, 2))):
        how = rng.choice(("mood", "character", "place", "end"))
        slots = {"hero": f"the {hero}", "place": rng.choice(stories["places"])}
        if how == "character":
            slots |= rng.choice([c for c in stories["characters"] if c["short"] != hero])
        if how == "mood":
            mood = rng.choice(sorted(stories["moods"]))
            wish, then = b.source.said(stories["steer_mood"][mood], f"steer_{mood}"), stories["moods"][mood]
            slots |= {"short": hero, "long": hero}
            rest = rest[1:-1][:1]
        else:
            wish = b.source.said(stories[f"steer_{how}"], f"steer_{how}")
            then = stories["quick_ends" if how == "end" else f"enter_{how}"]
            rest = [] if how == "end" else rest[-3:]
        b.say(b.breaks_in(b.typed(rng.choice(wish).format(**slots), 0.3)), over=True)
        line = rng.choice(then).format(**slots)
        line = line[0].upper() + line[1:]
        if how == "mood":  # the rest leads to its ending
            return b.resume([b.phrase("resume_go_on")], [*rest, line])
        if how == "end" or not rest or rng.random() < 0.6:
            return b.resume([b.phrase("resume_go_on"), line], rest)
        b.speak([i for text in (b.phrase("resume_go_on"), line) for i in b.encode(text)], done=False)
    return b.resume([], rest)


#: Kinds of talk and their shares in time slices.
DUPLEX: dict[Callable[[Builder], None], float] = {
    kinds.uninterrupted: 28,
    kinds.hesitation: 8,
    kinds.stop: 11,
    kinds.backchannel: 15,
    kinds.inserted_question: 14,
    kinds.new_question: 12,
    kinds.correction: 6,
    kinds.side_speech: 16,
    kinds.called: 1,
    kinds.hush: 4,
    kinds.nudge: 3,
    memory: 8,
    steered_story: 5,
}


def duplex_talk(source: Source, encode: Callable[[str], Sequence[int]], rng: Random, keep: int | None) -> Builder:
    """The beginning of a talk in time slices, in a rhythm of its own."""
    b = Builder(
        source,
        encode,
        rng,
        user_words=rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 8, 40)),
        model_tokens=rng.choice((3, 5, 8, 10, 10, 10, 10, 10, 15, 20)),
        pause_share=rng.choice((0.2, 0.4, 0.6, 0.9)),
        keep=keep,
    )
    if rng.random() < 0.3:
        b.pairs.append(Pair("", (), QUIET))
    return b


def turn_talk(source: Source, encode: Callable[[str], Sequence[int]], rng: Random, keep: int | None) -> Builder:
    """The beginning of a turn-based talk: whole messages, whole answers, never silence."""
    return Builder(source, encode, rng, 0, 0, whole=True, keep=keep)


def extend(b: Builder) -> None:
    """One more kind of talk, in time slices or in turns."""
    if not b.whole:
        shares = DUPLEX
        while (kind := b.rng.choices(list(shares), list(shares.values()))[0]) is kinds.hush and b.nudging:
            pass  # nobody asks for both
        kind(b)
    elif b.rng.random() < 0.1:
        memory(b)
    else:
        _turn(b)


def _turn(b: Builder) -> None:
    question, exchange = b.source.draw(b.rng)
    if b.rng.random() < 0.06:
        first, _ = b.source.draw(b.rng)
        question = f"{bare(first)}, {b.phrase('corrections', new=question)}"
    b.say(b.typed(question))
    b.answer(exchange)
    after = b.rng.random()
    if after < 0.06:
        b.say(b.typed(b.phrase("repeat")))
        b.answer(exchange)
    elif after < 0.09:
        b.say(b.typed(b.phrase("stop")))
        b.speak(b.encode(b.phrase("stopped")))
    elif after < 0.11:
        b.say(b.typed(b.phrase("call")))
        b.speak(b.encode(b.phrase("ready")))
    elif after < 0.16 and exchange.inner:
        new, inner = b.source.inserted(b.rng, exchange)
        b.say(b.typed(new))
        b.answer(inner)
