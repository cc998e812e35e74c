"""The format, its errors, and what the library holds."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from duplex_runtime.alignment import dialogues, noise
from duplex_runtime.alignment.corpus import MODEL_PHRASES, load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.noise import normal
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.scenarios import (
    PACES,
    WAYS,
    Part,
    Scenario,
    Span,
    Step,
    library,
    parse_scenario,
    read_scenario,
)

GOOD = """# The person breaks in,
# and is heard.
situation  question
by         speech

0.5 s            turn          Tell me about {bees|volcanoes}.
answer 1.5-3 s   question      Wait, how (0.6-1.2 s) is [spain > italy]? Now *cough*
20 s             silence"""


def of(text: str) -> Scenario:
    return parse_scenario("some/name.txt", text.split("\n"))


def test_a_file_is_read() -> None:
    scenario = of(GOOD)
    assert (scenario.name, scenario.situation, scenario.ways, scenario.pace) == (
        "name",
        "question",
        ("speech",),
        "normal",
    )
    assert scenario.about == "The person breaks in, and is heard."
    first, second, third = scenario.steps
    assert (first.after, first.delay, first.kind, first.line) == ("step", Span(0.5, 0.5), "turn", 6)
    assert (second.after, second.delay, second.kind) == ("answer", Span(1.5, 3.0), "question")
    assert (third.kind, third.text, third.parts(Random(0))) == ("silence", "", ())


def test_marks_become_parts() -> None:
    how, is_, country, now, cough = of(GOOD).steps[1].parts(Random(0))
    assert (how, is_.text) == (Part("Wait, how"), "is")
    assert 0.6 <= is_.pause <= 1.2
    assert country == Part("italy?", taken_back="spain")
    assert (now, cough) == (Part("Now"), Part("", sound=True))


def step(text: str, by: str = "keys speech") -> Step:
    return of(f"situation  stop\nby  {by}\n1-3 s  turn  {text}").steps[0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[Spain > Italy]?", (Part("Italy?", taken_back="Spain"),)),
        ("Is [a > b], c?", (Part("Is"), Part("b,", taken_back="a"), Part("c?"))),
        ("[big city > capital][Rome > Paris]", (Part("capital", 0, "big city"), Part("Paris", 0, "Rome"))),
        ("How  {do|do}  you", (Part("How do you"),)),
        ("{Go (1 s) on|Go (1 s) on} [now > then]{!|!}", (Part("Go"), Part("on", 1.0), Part("then!", 0, "now"))),
        ("Wait (1 s) (2 s) here.", (Part("Wait"), Part("here.", 3.0))),
        ("A [{x|x} > {y|y}] b", (Part("A"), Part("y", taken_back="x"), Part("b"))),
    ],
)
def test_punctuation_sticks_to_the_word_and_marks_may_stand_in_choices(text: str, parts: tuple[Part, ...]) -> None:
    assert step(text).parts(Random(1)) == parts


def test_a_seed_chooses_again_the_same() -> None:
    bees = of(GOOD).steps[0]
    said = {bees.parts(Random(seed))[0].text for seed in range(20)}
    assert said == {"Tell me about bees.", "Tell me about volcanoes."}
    wait = step("Wait (1-2 s) {here|there}.")
    for seed in range(10):
        assert wait.parts(Random(seed)) == wait.parts(Random(seed))
        assert wait.delay.draw(Random(seed)) == wait.delay.draw(Random(seed))
        assert 1 <= wait.delay.draw(Random(seed)) <= 3


def test_seeds_take_turns_with_the_ways() -> None:
    both = of("situation  stop\nby\tspeech  keys\n" + TURN)
    assert [both.way(seed) for seed in range(3)] == ["keys", "speech", "keys"]
    assert {of(GOOD).way(seed) for seed in range(3)} == {"speech"}


def test_only_the_first_block_of_comments_says_what_it_is_about() -> None:
    scenario = of("\n# One line\n#   and another.\n\n# A note.\nsituation\tstop\n# Here too.\n\n" + TURN + "\r")
    assert (scenario.about, scenario.situation) == ("One line and another.", "stop")
    assert scenario.steps[0].text == "Hello you."
    assert of("situation  stop\n" + TURN).about == ""


def test_an_answer_may_be_waited_for_again_once_something_was_asked_after_a_stop() -> None:
    lines = f"situation  stop\n{TURN}\nanswer 1 s  stop  Stop.\n2 s  resume  Go on.\nanswer 1 s  backchannel  yes"
    assert [each.kind for each in of(lines).steps] == ["turn", "stop", "resume", "backchannel"]


TURN = "0.5 s  turn  Hello you."


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "expected a line such as “situation  stop”"),
        ("situation  stop", None, "expected at least one step"),
        (TURN, None, "expected a line such as “situation  stop”"),
        ("situation  stop\nmood  good\n" + TURN, 2, "one of situation, by, pace"),
        ("situation  stop\npace  quick\n" + TURN, 2, "expected pace slow, normal, fast, got 'quick'"),
        ("situation  stop\nby  telepathy\n" + TURN, 2, "expected by keys or speech or both"),
        ("situation  Stop it\n" + TURN, 1, "expected a situation of one word"),
        ("situation  stop\nsituation  stop\n" + TURN, 2, "stands there twice"),
        ("situation  stop\n" + TURN + "\npace  slow", 3, "before the first step"),
        ("situation  stop\n0.5  turn  Hello.", 2, "expected a time such as"),
        ("situation  stop\n-1 s  turn  Hello.", 2, "expected a time such as"),
        ("situation  stop\n3-1 s  turn  Hello.", 2, "write 1-3 s"),
        ("situation  stop\n4000 s  turn  Hello.", 2, "at most 3600 s"),
        ("situation  stop\n1 s  shout  Hello.", 2, "expected turn, stop, question"),
        ("situation  stop\n1 s turn Hello.", 2, "two spaces"),
        ("situation  stop\n1 s  turn", 2, "expected words for turn"),
        ("situation  stop\n1 s  silence  shh", 2, "silence has no words"),
        ("situation  stop\nanswer 1 s  turn  Hello.", 2, "nothing was asked yet"),
        ("situation  stop\ndone 1 s  aside  Hello.", 2, "nothing was asked yet"),
        ("situation  stop\n" + TURN + "\n1 s  backchannel  mm-hm", 3, "falls into an answer"),
        ("situation  stop\n1 s  stop  Stop.", 2, "begin with a turn"),
        ("situation  stop\n1 s  turn  *cough*", 2, "it cannot be typed"),
        ("situation  stop\n1 s  turn  Tell {me.", 2, "belongs to no mark"),
        ("situation  stop\n1 s  turn  Tell {me|} now.", 2, "expected choices such as"),
        ("situation  stop\n1 s  turn  Tell [me] now.", 2, "expected a correction such as"),
        ("situation  stop\n1 s  turn  (2 s)", 2, "expected words beside the pause"),
        ("situation  stop\n1 s  turn  Tell (3-1 s) me.", 2, "write 1-3 s"),
        ("situation  stop\n" + TURN + "\ndone 1 s  silence", 3, "expected a plain time for silence"),
        ("situation  stop\nanswer  turn  Hello.", 2, "expected a time such as"),
        ("situation  stop\nafter 2 s  turn  Hello.", 2, "expected a step such as"),
        ("situation  stop\nby  keys keys\n" + TURN, 2, "got 'keys keys'"),
        ("situation\n" + TURN, 1, "expected a situation of one word"),
        ("situation  stop\n1 s  question  Why?", 2, "begin with a turn"),
        ("situation  stop\n1 s  resume  Go on.", 2, "begin with a turn"),
        ("situation  stop\n1 s  aside  Hm.\nanswer 1 s  tic  um", 3, "nothing was asked yet"),
        (f"situation  stop\n{TURN}\n1 s  stop  Stop.\nanswer 1 s  aside  Hm.", 4, "a stop is not answered"),
        ("situation  stop\n1 s  turn  Tell {{a|b}|c} me.", 2, "belongs to no mark"),
        ("situation  stop\n1 s  turn  Tell me} now.", 2, "belongs to no mark"),
        ("situation  stop\n1 s  turn  Tell [a > (1 s) b] now.", 2, "belongs to no mark"),
        ("situation  stop\n1 s  turn  Tell [a > [b > c]] now.", 2, "belongs to no mark"),
        ("situation  stop\nby  speech\n1 s  turn  Tell [a > *cough*] now.", 3, "belongs to no mark"),
        ("situation  stop\n1 s  turn  Tell {a [b|c > d]} now.", 2, "belongs to no mark"),
        ("situation  stop\n1 s  turn  Tell (1) me.", 2, "belongs to no mark"),
        ("situation  stop\n1 s  turn  Tell (-1 s) me.", 2, "belongs to no mark"),
        ("situation  stop\n1 s  turn  Tell (1 s me.", 2, "belongs to no mark"),
        ("situation  stop\n1 s  turn  Tell [ > b] now.", 2, "expected a correction such as"),
        ("situation  stop\n1 s  turn  Tell [a > b > c] now.", 2, "expected a correction such as"),
        ("situation  stop\n1 s  turn  Tell {me} now.", 2, "expected choices such as"),
        ("situation  stop\n1 s  turn  Tell me (4000 s) now.", 2, "at most 3600 s"),
        ("situation  stop\n1 s  turn  Tell me. (1 s)", 2, "expected words before and behind a pause"),
        ("situation  stop\n1 s  turn  {so|(1 s)} tell me.", 2, "expected words before and behind a pause"),
        ("situation  stop\nby  speech\n1 s  tic  * *", 3, "expected a sound such as"),
        ("situation  stop\n1 s  tic  {um|*cough*}", 2, "write “by  speech” above"),
        ("situation  stop\n1 s  turn  a\x07b", 2, "control character 0x07"),
        ("situation  stop\n1 s  turn  a\x85b", 2, "control character 0x85"),
        ("# Ring\x1b[31m\nsituation  stop\n" + TURN, 1, "control character 0x1b"),
        ("situation  stop\n1 s  turn  " + "a" * 2001, 2, "at most 2000 characters"),
        ("situation  stop\n" + "\n".join([TURN] * 101), 102, "at most 100 steps"),
    ],
)  # fmt: skip
def test_what_cannot_be_played_is_named_with_its_line(text: str, line: int | None, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        of(text)
    place = f"some/name.txt line {line}: " if line else "some/name.txt: "
    assert str(caught.value).startswith(place)
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"# About.\nsituation  st\xffop")
    with pytest.raises(BadInput, match=r"a\.txt line 2: expected UTF-8, got the byte 0xff; save the file as UTF-8"):
        read_scenario(tmp_path / "a.txt")
    with pytest.raises(BadInput, match="expected a readable scenario file"):
        read_scenario(tmp_path)
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfsituation  stop\r\n" + TURN.encode() + b"\r\n")
    assert read_scenario(tmp_path / "bom.txt").steps[0].parts(Random(0)) == (Part("Hello you."),)
    with pytest.raises(BadInput, match="expected a readable scenario file"):
        read_scenario(tmp_path / "none.txt")
    with pytest.raises(BadInput, match="expected a folder of scenarios"):
        library(tmp_path / "none")


def test_a_broken_file_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("situation  stop\n1 s  shout  Hello.")
    (tmp_path / "good.txt").write_text("situation  stop\n" + TURN)
    problems: list[str] = []
    assert [s.name for s in library(tmp_path, problems=problems)] == ["good"]
    assert len(problems) == 1
    assert "bad.txt line 2" in problems[0]
    with pytest.raises(BadInput, match=r"bad\.txt line 2"):
        library(tmp_path)


def test_only_some() -> None:
    assert {s.situation for s in library(only=["stop", "smooth-joke"])} == {"stop", "smooth"}
    with pytest.raises(BadInput, match=r"names or situations .*got 'nonsense'"):
        library(only=["nonsense"])


SITUATIONS = {
    "smooth", "pause", "backchannel", "tic", "aside", "stop", "correction", "question", "change", "silence", "long",
    "pace",
}  # fmt: skip


def test_the_library_covers_every_situation() -> None:
    scenarios = library()
    assert len(scenarios) >= 132
    situations = Counter(s.situation for s in scenarios)
    assert set(situations) == SITUATIONS
    assert min(situations.values()) >= 11
    ways = Counter(s.ways for s in scenarios)
    assert ways[WAYS] >= 0.7 * len(scenarios)
    assert min(ways[("keys",)], ways[("speech",)]) >= 0.08 * len(scenarios)
    assert {s.pace for s in scenarios} == set(PACES)


def test_one_seed_of_the_library_has_enough_of_every_kind() -> None:
    kinds = Counter(each.kind for scenario in library() for each in scenario.steps)
    assert kinds["turn"] >= 40
    assert min(kinds[kind] for kind in ("stop", "question", "backchannel", "tic", "aside")) >= 25
    assert kinds["resume"] >= 12


def test_every_scenario_says_in_one_line_what_it_is_about() -> None:
    abouts = [scenario.about for scenario in library()]
    assert len(set(abouts)) == len(abouts)
    assert all(10 <= len(about) <= 100 and about.endswith(".") for about in abouts)


def test_every_seed_can_say_every_step() -> None:
    for scenario in library():
        assert scenario.steps[0].after == "step"
        for each in scenario.steps:
            for seed in range(10):
                parts = each.parts(Random(seed))
                assert each.delay.low <= each.delay.draw(Random(seed)) <= each.delay.high
                assert bool(parts) == (each.kind != "silence"), (scenario.name, each.line)
                assert all(bool(part.text) != part.sound for part in parts)
                assert not re.search(r"[{}\[\]()|*<>]", " ".join(p.text + p.taken_back for p in parts)), scenario.name


def test_most_talks_are_not_the_same_for_five_seeds() -> None:
    def said(scenario: Scenario, seed: int) -> list[tuple[Part, ...]]:
        return [each.parts(Random(seed)) for each in scenario.steps]

    same = [s.name for s in library() if all(said(s, seed) == said(s, 0) for seed in range(5))]
    assert len(same) < 0.15 * len(library()), same


# — what was trained —

_STEERING = ("steer_place", "steer_character", "steer_end")


def trained_wordings(source: Source) -> Iterator[str]:
    """What a person says in training, with places such as {thing} still to be filled in."""
    corpus = source.corpus
    for exchange in (*corpus.facts, *corpus.talk, *corpus.long):
        for entry in (exchange, *exchange.inner):
            yield from (*entry.asks(held_out=False), *entry.leaning)
    for kind in {*corpus.phrases, *corpus.manners} - MODEL_PHRASES:
        yield from source.phrases(kind)
    lists = {name: getattr(dialogues, f"_{name.upper()}") for name in ("sum", "count", "count_from", "count_back")}
    lists |= {"story_ask": corpus.stories["ask"], **{name: corpus.stories[name] for name in _STEERING}}
    lists |= {f"steer_{mood}": wishes for mood, wishes in corpus.stories["steer_mood"].items()}
    lists |= {name: corpus.words[name] for name in ("opposite_asks", "spelling_asks")}
    lists |= {name: corpus.unknown[name] for name in ("templates", "statements", "gibberish")}
    for name, wordings in lists.items():
        yield from source.said(wordings, name)
    for about in ("name", *source.personal):
        yield from (*source.remember(about)["tell"], *source.remember(about)["ask"])


class Trained:
    """Knows every sentence that training may hold, and those with a trained opening before a trained question."""

    def __init__(self) -> None:
        source = Source(load())
        numbers = [*map(dialogues.words, range(31)), *map(str, range(31))]
        slots = {name: source.said(values, name) for name, values in source.corpus.unknown["slots"].items()}
        slots |= {"a": numbers, "b": numbers, "op": ("plus", "minus", "times")}
        slots["place"] = (*slots["place"], *source.corpus.stories["places"])
        self.slots = {name: f"(?:{'|'.join(map(normal, values))})" for name, values in slots.items()}
        self.whole: set[str] = set()
        self.openings = {normal(words) for words in (*noise._BEFORE, *noise._OPENERS)}
        self.open: list[tuple[str, str, str]] = []  # how it begins and ends, and all of it
        for wording in trained_wordings(source):
            if wording.endswith("{new}"):
                self.openings.add(normal(wording.removesuffix("{new}")).strip())
            elif "{" in wording:
                # normal() strips: the letters keep the spaces at the edges
                first, *_, last = (normal(f"x{piece}x")[1:-1] for piece in re.split(r"\{\w+\}", wording))
                self.open.append((first, last, wording))
            else:
                self.whole.add(normal(wording))

    def __contains__(self, sentence: str) -> bool:
        words = sentence.split()
        tails = {" ".join(words[n:]) for n in range(1, len(words)) if " ".join(words[:n]) in self.openings}
        return bool({sentence, *tails} & self.whole) or any(
            self.pattern(wording).fullmatch(sentence)
            for first, last, wording in self.open
            if sentence.startswith(first) and sentence.endswith(last)
        )

    def pattern(self, wording: str) -> re.Pattern[str]:
        """Of a wording with places: what is known to stand there, or a few words."""
        pieces = re.split(r"\{(\w+)\}", wording)
        around = [normal(f"x{piece}x")[1:-1] for piece in pieces[::2]]
        slots = [self.slots.get(name, r"\w+(?: \w+){0,2}") for name in pieces[1::2]]
        return re.compile("".join(itertools.chain(*zip(around, [*slots, ""], strict=True))))


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained()


@pytest.mark.parametrize(
    "sentence",
    [
        "What is the capital of France?",
        "Could you tell me, what is the capital of France?",
        "Tell me how to make pancakes.",
        "How much is seven plus two?",
        "A bedtime story about a pirate, please.",
        "I'm ready for the rest.",
        "I have a meeting with Ivan next week.",
    ],
)
def test_a_trained_sentence_would_be_found(trained: Trained, sentence: str) -> None:
    assert normal(sentence) in trained


def test_held_out_wordings_count_as_new(trained: Trained) -> None:
    rng, source = Random(0), Source(load(), held_out=True)
    asked = [normal(ask) for ask, exchange in (source.short(rng) for _ in range(300)) if exchange.kind == "fact"]
    assert len(asked) > 50
    # some of them are a trained one behind an opening
    assert sum(ask in trained for ask in asked) < 0.2 * len(asked)


def library_texts() -> set[tuple[str, str, str]]:
    """Name of the scenario, kind and words of every step as ten seeds say it."""
    return {
        (scenario.name, each.kind, " ".join(part.text for part in each.parts(Random(seed))))
        for scenario in library()
        for each in scenario.steps
        for seed in range(10)
    }


def test_nothing_in_it_was_trained_word_for_word(trained: Trained) -> None:
    sentences = {
        (name, kind, normal(sentence))
        for name, kind, text in library_texts()
        for sentence in (text, *re.split(r"(?<=[.?!])\s+", text))
    }
    # what steers is short, and is what people say in training as well
    shortest = {"turn": 4, "question": 4}
    long = [(name, sentence) for name, kind, sentence in sentences if len(sentence.split()) >= shortest.get(kind, 5)]
    assert len(long) > 400
    assert not [each for each in long if each[1] in trained]


def test_most_stops_and_requests_to_go_on_are_not_training_phrases(trained: Trained) -> None:
    for kind in ("stop", "resume"):
        texts = {normal(text) for _, k, text in library_texts() if k == kind}
        assert len(texts) >= 25
        assert sum(text in trained for text in texts) < 0.35 * len(texts)
