"""The kinds of duplex talk, each a small function that adds one to a `Builder`.

Of the paper's six: uninterrupted, stop (termination), correction (regeneration), new_question (reset) and
inserted_question (back on topic); topic interweaving needs whole dialogues and stands in `build.py`. The rest is
what the paper lacks: hesitation, backchannels, side speech, silence on request, a nudge, stories steered while
they are told, and things told to be remembered.
"""

from __future__ import annotations

from duplex_runtime.alignment.builder import QUIET, Builder
from duplex_runtime.alignment.noise import bare, renamed


def uninterrupted(b: Builder) -> None:
    """A question, an answer: the model waits for the end of the question, the person for that of the answer."""
    question, exchange = b.source.draw(b.rng)
    b.say(b.typed(question))
    b.answer(exchange)
    turn = b.rng.random()
    if turn < 0.08:
        b.say(b.typed(b.phrase("repeat")))
        b.answer(exchange)
    elif turn < 0.16:
        b.quiet(b.typed(b.phrase(b.rng.choice(("stop", "wait")))))
    elif turn < 0.2:
        b.quiet(b.phrase("backchannels"), QUIET)
    elif turn < 0.3:
        b.long_silence()


def hesitation(b: Builder) -> None:
    """Fillers, pauses and false starts in the middle of a sentence: patience."""
    question, exchange = b.source.draw(b.rng)
    words = b.typed(question).split()
    if b.rng.random() < 0.35:  # a false start: the beginning of this or another question, then this one
        other = words if b.rng.random() < 0.5 else bare(b.source.draw(b.rng)[0]).split()
        begun = other[: b.rng.randint(1, min(3, len(other)))]
        begun[-1] += b.rng.choice(("", "", "-", "...", ","))
        words = [*begun, *([b.phrase("fillers")] if b.rng.random() < 0.6 else []), *words]
    else:
        for _ in range(b.rng.randint(1, 2)):
            words.insert(b.rng.randint(0, len(words) - 1), b.phrase("fillers"))
    b.say(" ".join(words))
    b.answer(exchange)


def stop(b: Builder) -> None:
    """Told to stop in the middle of an answer: silence; later perhaps asked to go on, or something new."""
    question, exchange = b.source.long(b.rng)
    b.say(b.typed(question))
    rest = b.cut(exchange)
    b.quiet(b.breaks_in(b.typed(b.phrase(b.rng.choices(("stop", "wait"), (3, 1))[0]))))
    if rest and b.rng.random() < 0.4:
        b.say(b.typed(b.phrase("go_on")))
        b.resume([b.phrase("resume_go_on")], rest)


def backchannel(b: Builder) -> None:
    """The person says mm-hm while the model explains: it goes on."""
    question, exchange = b.source.long(b.rng)
    b.say(b.typed(question))
    share = b.rng.choice((0.15, 0.3, 0.5))
    begun: list[str] = []  # words of one that is typed slowly; "no" alone would be an interruption

    def over() -> str:
        if begun:
            return begun.pop(0)
        if b.rng.random() > share:
            return ""
        text = b.phrase("backchannels") + b.rng.choice(("", "", "", ".", "!", "..."))
        if len(text.split()) < 3 and b.rng.random() < 0.2:
            text = f"{text} {b.rng.choice([p for p in b.source.phrases('backchannels') if ' ' not in p])}"
        if not text.startswith("no ") and b.rng.random() < 0.3:
            text, *begun[:] = text.split()
        return text

    b.speak([i for part in exchange.parts for i in b.encode(part)], over=over)


def side_speech(b: Builder) -> None:
    """Words for somebody else, a cough: no reaction, neither in an answer nor in silence."""
    aside = b.phrase(b.rng.choice(("side_speech", "side_speech", "side_speech", "noises")))
    if b.rng.random() < 0.5:
        aside = renamed(aside, b.rng)
    if b.rng.random() < 0.2:
        aside = f"{aside} {b.phrase('side_speech')}"
    if b.rng.random() < 0.4:
        aside = bare(aside)
    if b.rng.random() < 0.35:
        return b.quiet(aside)
    question, exchange = b.source.long(b.rng)
    b.say(b.typed(question))
    said = iter([*[""] * b.rng.randint(0, 4), *b.chunks(aside)])
    b.speak([i for part in exchange.parts for i in b.encode(part)], over=lambda: next(said, ""))
    return None


def inserted_question(b: Builder) -> None:
    """A question about what is being said: the model answers it and goes back to its unfinished statement."""
    question, exchange = b.source.long(b.rng)
    while exchange.kind in ("count", "story"):
        question, exchange = b.source.long(b.rng)
    b.say(b.typed(question))
    rest = b.cut(exchange)
    new, inner = b.source.inserted(b.rng, exchange)
    text = b.phrase("questions_inserted", new=new)
    if inner.kind == "inner" and b.rng.random() < 0.25:
        text = new
    b.say(b.breaks_in(b.typed(text, 0.3)), over=True)
    b.resume([inner.answer, *([b.phrase("bridges")] if rest else [])], rest)


def new_question(b: Builder) -> None:
    """Another question in the middle of an answer: the old answer is dropped."""
    question, exchange = b.source.long(b.rng)
    b.say(b.typed(question))
    b.cut(exchange)
    for _ in range(b.rng.choice((1, 1, 2))):
        new, other = b.source.draw(b.rng)
        text = b.phrase(b.rng.choice(("topic_changes", "topic_changes", "topic_changes", "corrections")), new=new)
        b.say(b.breaks_in(b.typed(text, 0.3)), over=True)
        if len(other.parts) > 1 and b.rng.random() < 0.3:
            b.cut(other)
        else:
            return b.answer(other)
    return None


def correction(b: Builder) -> None:
    """Corrected before the model could answer, or while it does: the new question counts."""
    first, _ = b.source.draw(b.rng)
    second, exchange = b.source.draw(b.rng)
    words = bare(first).split()
    cut = words if b.rng.random() < 0.4 else words[: b.rng.randint(1, len(words))]
    b.say(b.typed(f"{' '.join(cut)}{b.rng.choice(('...', ',', ' -', ''))} {b.phrase('corrections', new=second)}"))
    b.answer(exchange)


def called(b: Builder) -> None:
    """Called after a silence."""
    b.say(b.typed(b.phrase("call")))
    b.speak(b.encode(b.phrase("ready")))


def hush(b: Builder) -> None:
    """Asked to be silent until called: it hears, and says nothing, whatever is said."""
    b.say(b.typed(b.phrase("hush")))
    b.note("hush", b.phrase("hush_ok"))
    for _ in range(b.rng.randint(1, 4)):
        said = b.phrase("hush_talk") if b.rng.random() < 0.6 else b.source.draw(b.rng)[0]
        b.quiet(b.typed(said))
    call = b.phrase("hush_call")
    if b.rng.random() < 0.25:  # whatever is said to it by name
        call = f"Duplex, {b.phrase(b.rng.choice(('go_on', 'go_on', 'greet', 'call'))).lower()}"
    b.say(b.typed(call))
    b.note("hush", b.phrase("hush_back"))


def nudge(b: Builder) -> None:
    """Asked to say something when it has been silent for long: it does."""
    b.say(b.typed(b.phrase("nudge_ask")))
    b.nudging = True
    b.note("nudge", b.phrase("nudge_ok"))
    if b.rng.random() < 0.4:
        uninterrupted(b)
    b.long_silence()
