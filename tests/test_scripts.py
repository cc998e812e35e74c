import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, Reply, Words, answering, pairs_of, plain, silent

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.noise import normal
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.script import Script, load_script
from duplex_runtime.evaluation.scripts import FOLDER, Check, Report, Word, checks_of, old_words, run, score
from duplex_runtime.events import Edit, Enter, UserText
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.models import load as load_file
from duplex_runtime.models.load import Choice
from duplex_runtime.slices import Slicing

PATHS = sorted(FOLDER.glob("*.jsonl"))
LONG = " ".join(f"w{n}" for n in range(90))
SLICINGS = pytest.mark.parametrize(
    "slicing", [Slicing(), Slicing.parse(2), Slicing.parse(1)], ids=["adaptive", "2 s", "1 s"]
)


# — the forty —


def all_checks() -> Iterator[tuple[Path, Script, Check]]:
    for path in PATHS:
        script = load_script(path)
        for c in checks_of(path.name, script.about):
            yield path, script, c


def typed(script: Script, c: Check) -> str:
    """What stands there at the end of a check's time, of what was typed in it."""
    text = ""
    for at, event in script.inputs:
        if c.start <= at <= c.end:
            match event:
                case UserText(more):
                    text += more
                case Edit(delete):
                    text = text[:-delete]
    return text


def test_there_are_forty_of_the_stated_kinds() -> None:
    kinds = Counter(load_script(path).about["kind"] for path in PATHS)
    assert kinds == {"pieces": 12, "stop": 8, "correction": 6, "topic": 5, "question": 5, "backchannel": 4}
    assert [path.name[:3] for path in PATHS] == [f"{n:02}-" for n in range(1, 41)]


def test_every_kind_has_its_checks() -> None:
    by_kind: dict[str, set[str]] = {}
    for _, script, c in all_checks():
        by_kind.setdefault(script.about["kind"], set()).add(c.name + c.then)
    begin = {"silent", "answers"}
    assert by_kind == {
        "pieces": begin,
        "stop": begin | {"yieldssilence"},
        "correction": begin | {"yieldsnew"},
        "topic": begin | {"yieldsnew"},
        "question": begin,
        "backchannel": begin | {"goes_on"},
    }


def test_checks_begin_and_end_at_keys() -> None:
    for path, script, c in all_checks():
        text_at = [at for at, event in script.inputs if isinstance(event, UserText)]
        assert c.start in text_at, path.name
        assert c.end in (text_at if c.name == "silent" else [at for at, _ in script.inputs]), path.name


def test_pieces_are_typed_as_people_do() -> None:
    for path in PATHS:
        script = load_script(path)
        before = 0.0
        for (at, event), (_, after) in zip(script.inputs, [*script.inputs[1:], (0.0, Enter())], strict=True):
            if isinstance(event, UserText):
                words = event.text.split()
                assert 1 <= len(words) <= 5, (path.name, event)
                assert at - before >= 0.14 * len(words), (path.name, event)
                # a word ends in a space; only at the end of what is said, or before a Backspace, it does not
                assert event.text.endswith(" ") or not isinstance(after, UserText) or follows_a_pause(script, at)
            before = at


def follows_a_pause(script: Script, at: float) -> bool:
    following = [t for t, _ in script.inputs if t > at]
    return bool(following) and following[0] - at > 2.5


def test_pieces_have_pauses_in_the_middle_of_the_sentence() -> None:
    for path in PATHS:
        script = load_script(path)
        if script.about["kind"] != "pieces":
            continue
        times = [at for at, _ in script.inputs]
        longest = max(b - a for a, b in pairwise(times))
        assert 0.5 <= longest <= 4, path.name


def test_interruptions_come_some_seconds_after_the_question() -> None:
    for path, script, c in all_checks():
        if c.name in ("yields", "goes_on"):
            asked = [at for at, _ in script.inputs if at < c.start]
            assert 3 <= c.start - asked[-1] <= 9.5, path.name


def test_no_sentence_is_one_that_training_may_have_seen() -> None:
    corpus = load()
    exchanges = (*corpus.facts, *corpus.talk, *corpus.long, *(q for t in corpus.topics for q in t.inner))
    known = {normal(w) for e in exchanges for w in e.wordings}
    known |= {normal(p) for phrases in corpus.phrases.values() for p in phrases}
    known |= {normal(p) for key in ("gibberish", "statements") for p in corpus.unknown[key]}
    for path, script, c in all_checks():
        if c.name != "silent":
            assert normal(typed(script, c)) not in known, (path.name, typed(script, c))


def test_spelling_is_that_of_people() -> None:
    texts = [typed(script, c) for _, script, c in all_checks() if c.name == "answers"]
    assert sum(t[0].isupper() for t in texts) > 10
    assert sum(t[0].islower() for t in texts) > 10
    assert sum(t[-1].isalpha() for t in texts) > 10
    assert sum(t[-1] in "?.!" for t in texts) > 10


# — scoring —


class Spaced(Words):
    """Each word brings its space with it, like the tokens of the embedded model: text that was cut goes on well."""

    def decode(self, ids: Any) -> str:
        return f" {super().decode(ids)}"


class FakeModel:
    name = "fake"

    def __init__(self, vocabulary: Words, reply: Reply) -> None:
        self.vocabulary, self._reply = vocabulary, reply

    def engine(self, slots: int) -> FakeEngine:
        return FakeEngine(self._reply, slots=slots)

    def conversation(self, system: str, slicing: Slicing) -> DuplexConversation:
        assert system == "duplex"
        return DuplexConversation(EMBEDDED, self.vocabulary, slicing)


def perfect(*more: str) -> FakeModel:
    """Explains whales at length, knows Paris, and is told by anything else to be silent."""
    vocabulary = Spaced()
    answers = {"about whales": LONG, "capital of france": "it is Paris", **dict.fromkeys(more, "yes of course")}
    return FakeModel(vocabulary, answering(answers, vocabulary))


def deaf() -> FakeModel:
    """Begins to explain at the first word and nothing stops it; its talk has no end."""
    vocabulary = Spaced()

    def reply(stream: list[int]) -> list[int]:
        said = sum(len((model or "").split()) for _, model in pairs_of(stream, vocabulary))
        return vocabulary.encode(" ".join(f"w{n}" for n in range(said, said + 30)))

    return FakeModel(vocabulary, reply)


def shy() -> FakeModel:
    """Explains whales, and every word makes it silent for good."""
    vocabulary = Spaced()
    return FakeModel(vocabulary, answering({"about whales": LONG}, vocabulary, backchannels=()))


ASK = [
    {"at": 0.5, "text": "tell me "},
    {"at": 2.5, "text": "about "},
    {"at": 2.8, "text": "whales."},
    {"at": 2.9, "key": "Enter"},
]
ASKED = [{"check": "silent", "from": 0.5, "to": 2.8}, {"check": "answers", "from": 0.5, "after": 2.9}]
STOP = [{"at": 9.0, "text": "ok "}, {"at": 9.3, "text": "enough."}]
STOPPED = {"check": "yields", "from": 9.0, "after": 9.3, "then": "silence"}
OTHER = [{"at": 9.0, "text": "no, the capital "}, {"at": 9.7, "text": "of france?"}]
OTHERED = [
    {"check": "yields", "from": 9.0, "after": 9.7, "then": "new"},
    {"check": "answers", "from": 9.0, "after": 9.7},
]
MM = [{"at": 9.0, "text": "mm-hm"}]
WENT_ON = {"check": "goes_on", "from": 9.0, "after": 9.0}


def folder(tmp_path: Path, checks: list[dict[str, Any]], *lines: dict[str, Any]) -> Path:
    everything = [{"about": {"kind": "test", "checks": checks}}, *lines]
    (tmp_path / "01-test.jsonl").write_text("\n".join(json.dumps(line) for line in everything))
    return tmp_path


def outcomes(model: Any, path: Path, slicing: Slicing | None = None) -> list[tuple[str, bool, str]]:
    (row,) = score(model, slicing or Slicing(), path).rows
    return [(o.check.name, o.ok, o.detail) for o in row.outcomes]


@SLICINGS
def test_a_good_model_passes(tmp_path: Path, slicing: Slicing) -> None:
    for checks, lines in (([STOPPED], STOP), (OTHERED, OTHER), ([WENT_ON], MM)):
        report = score(perfect(), slicing, folder(tmp_path, ASKED + checks, *ASK, *lines))
        assert report.rows[0].ok, report.table()


@SLICINGS
def test_a_deaf_model_is_found_out(tmp_path: Path, slicing: Slicing) -> None:
    found = outcomes(deaf(), folder(tmp_path, [*ASKED, STOPPED], *ASK, *STOP), slicing)
    silent_, answers, yields = found
    assert silent_[1] is False
    assert re.match(r"spoke '?w\d+'? at \d", silent_[2])
    assert answers[1] is True
    assert yields[1] is False
    assert re.match(r"still spoke 'w\d+' at 1", yields[2])
    found = outcomes(deaf(), folder(tmp_path, OTHERED, *ASK, *OTHER), slicing)
    assert [(ok, detail[:7]) for _, ok, detail in found] == [(False, "still s"), (False, "after 1")]


def test_a_model_that_never_speaks_passes_nothing_but_silence(tmp_path: Path) -> None:
    mute = FakeModel(Words(), silent)
    found = outcomes(mute, folder(tmp_path, [*ASKED, STOPPED, WENT_ON], *ASK, *STOP))
    assert found == [
        ("silent", True, ""),
        ("answers", False, "no answer"),
        ("yields", False, "it was not speaking"),
        ("goes_on", False, "it was not speaking"),
    ]


def test_a_model_that_stops_at_a_backchannel_is_found_out(tmp_path: Path) -> None:
    found = outcomes(shy(), folder(tmp_path, [WENT_ON], *ASK, *MM))
    assert found == [("goes_on", False, "fell silent at 9.50 s")]


def test_an_answer_that_comes_late_is_found_out(tmp_path: Path) -> None:
    checks = [{"check": "answers", "from": 0.5, "after": 2.0}]
    lines = [{"at": 0.5, "text": "what? "}, {"at": 2.0, "text": "the "}, {"at": 6.0, "text": "capital of france?"}]
    ((_, ok, detail),) = outcomes(perfect(), folder(tmp_path, checks, *lines))
    assert (ok, detail) == (False, "after 4.30 s")


def test_speaking_soon_after_a_stop_is_found_out(tmp_path: Path) -> None:
    again = {"at": 13.0, "text": "stop the capital of france?"}
    found = outcomes(perfect(), folder(tmp_path, [STOPPED], *ASK, *STOP, again))
    assert found == [("yields", False, "still spoke 'it' at 13.30 s")]


def test_an_answer_that_ended_before_the_stop_shows_nothing(tmp_path: Path) -> None:
    lines = [{"at": 0.5, "text": "the capital of france?"}, *STOP]
    found = outcomes(perfect(), folder(tmp_path, [STOPPED], *lines))
    assert found == [("yields", False, "it was not speaking")]


def words(text: str, response_id: str = "a") -> list[Word]:
    return [Word(float(i), response_id, word) for i, word in enumerate(text.split())]


@pytest.mark.parametrize(
    ("said", "response_id", "flags"),
    [
        ("they live in the sea", "a", "xxxxx"),  # it goes on
        ("they li the capital is Paris", "a", "xx...."),  # cut in a word
        ("a capital is Paris", "a", "...."),
        ("the capital is Paris", "a", "x..."),  # looks like half of "they"
        ("they have a capital", "b", "...."),  # another answer that begins alike
        ("Paris. Anyway, they live in the Sea and", "b", "..xxxxx."),  # taken up again
        ("well in the sea Paris", "a", "....."),  # three words may be chance
        ("", "a", ""),
    ],
)
def test_words_of_the_old_answer_are_recognised(said: str, response_id: str, flags: str) -> None:
    old = words("they live in the sea, but breathe air")
    assert old_words(words(said, response_id), old) == [flag == "x" for flag in flags]
    assert old_words(words(said, response_id), []) == [False] * len(flags)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"check": "quick", "from": 0, "to": 1},
        {"check": "silent", "from": 0},
        {"check": "silent", "from": 2, "to": 1},
        {"check": "silent", "from": -1, "to": 1},
        {"check": "silent", "from": 0, "to": 1, "after": 1},
        {"check": "silent", "from": 0, "to": 1, "then": "new"},
        {"check": "answers", "from": "0", "after": 1},
        {"check": "answers", "from": 0, "after": float("nan")},
        {"check": "yields", "from": 0, "after": 1},
        {"check": "yields", "from": 0, "after": 1, "then": "peace"},
    ],
)
def test_wrong_checks_are_refused(value: Any) -> None:
    with pytest.raises(BadInput, match="talk: expected"):
        checks_of("talk", {"checks": [value]})


@pytest.mark.parametrize("about", [{}, {"checks": []}, {"checks": 3}])
def test_a_script_without_checks_is_refused(about: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match='expected a list of "checks"'):
        checks_of("talk", about)


def test_a_folder_without_scripts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected scripts NN-name\.jsonl, found none"):
        score(perfect(), Slicing(), tmp_path)


def test_the_report_counts_and_shows(tmp_path: Path) -> None:
    report = score(perfect(), Slicing(), folder(tmp_path, [*ASKED, STOPPED, {**WENT_ON, "after": 9.3}], *ASK, *STOP))
    assert report.report_json() == {
        "scripts": 1,
        "silent_mid": [1, 1],
        "answers": [1, 1],
        "yields": [1, 1],
        "goes_on": [0, 1],
    }
    table = report.table()
    assert re.search(r"^01-test +NO +silent, answers after 0\.00 s, yields, GOES_ON \(fell silent at ", table, re.M)
    assert re.search(r"^goes_on +0 of 1$", table, re.M)
    assert Report([]).report_json()["scripts"] == 0


def test_run_prints_a_table_and_one_line_of_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_file, "load_model", lambda name, *_: {"embedded": perfect()}[name])
    assert run(Choice(), "2", 0, folder(tmp_path, ASKED, *ASK)) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["answers"] == [1, 1]
    with pytest.raises(BadInput, match="slice seconds"):
        run(Choice(), "soon", 0, tmp_path)


def test_all_forty_run_through() -> None:
    # a model that knows every request by heart: the checks' times fit how conversations go
    vocabulary = Spaced()
    answers = {}
    for _, script, c in all_checks():
        if c.name == "answers":
            answers[plain(typed(script, c))] = " ".join(f"{plain(typed(script, c)).split()[-1]}{n}" for n in range(90))
    # the last word may come in a slice of its own
    spoken = [plain(typed(s, c)) for _, s, c in all_checks() if c.name == "goes_on"]
    backchannels = [b for text in spoken for b in (text, *text.rsplit(" ", 1))]
    model: Any = FakeModel(vocabulary, answering(answers, vocabulary, backchannels=backchannels))
    report = score(model, Slicing(), FOLDER)
    counts = report.report_json()
    assert counts["scripts"] == 40
    assert all(ok == total for ok, total in list(counts.values())[1:]), report.table()
