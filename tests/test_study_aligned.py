import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from duplex_runtime.alignment.builder import CUT, DECISION
from duplex_runtime.duplex import Memory
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import BadInput
from duplex_runtime.events import Edit, Enter, Input, Slice, UserText
from duplex_runtime.recording import Log, Recorder, header_of, parse_log
from duplex_runtime.slices import Slicing
from tests.fakes import Reply, Talk, Words, answering, duplex_talk, endless, keys, silent, turns_talk
from webapp.study.aligned import Pair, aligned_of, pairs_of, row_of, turns_of
from webapp.study.gather import Talked

ANSWER = "in a hive with many others of their kind and they share all of the work there is"
Script = list[tuple[float, Input]]


def recorded(talk: Talk, **header: Any) -> Callable[[], Log]:
    """The talk's log, whenever it is asked for."""
    file = io.StringIO()
    system = talk.conversation.system
    recorder = Recorder(file, system)
    recorder.header(header_of("embedded", Sampling(), {"slice_seconds": "adaptive", **header}))
    talk.session.observers = (*talk.session.observers, recorder)
    return lambda: parse_log(file.getvalue().encode(), "log")[system]


def duplex(reply: Callable[[Words], Reply], script: Script, slicing: Slicing | None = None) -> tuple[Talk, Log]:
    words = Words()
    talk = duplex_talk(reply(words), words, slicing=slicing, memory=Memory(limit=10**6))
    log = recorded(talk)
    talk.play(script)
    return talk, log()


def knows(words: Words) -> Reply:
    return answering({"how do bees live": ANSWER, "and in winter": "they sit close together"}, words)


def said(pairs: list[Pair]) -> list[tuple[str, str]]:
    return [(pair.user, pair.model) for pair in pairs]


# — slices —


def test_a_question_and_its_answer() -> None:
    _, log = duplex(knows, keys("how do bees live?"))
    pairs = pairs_of(log, "log")
    assert " ".join(pair.user for pair in pairs if pair.user) == "how do bees live?"
    assert " ".join(pair.model for pair in pairs if pair.model) == ANSWER
    assert [pair.ends for pair in pairs if pair.model].count(True) == 1 and pairs[-1].ends
    assert not any(pair.cut for pair in pairs)


def test_what_was_not_heard_is_gone_and_the_answer_does_not_end_there() -> None:
    talk, log = duplex(knows, [*keys("how do bees live?"), *keys("stop it ", at=2.0)])
    pairs = pairs_of(log, "log")
    heard = " ".join(pair.model for pair in pairs if pair.model)
    assert heard and ANSWER.startswith(heard) and heard != ANSWER
    assert not any(pair.ends for pair in pairs)
    assert visible(said(pairs)) == visible(talk.pairs)


def test_words_that_were_taken_back_before_anybody_reacted_were_never_said() -> None:
    script = [*keys("how do cats "), *((3.0 + n / 100, Edit(1)) for n in range(5)), *keys("bees live?", at=3.2)]
    talk, log = duplex(knows, script)
    assert any(slice_.user == "how do cats" for slice_ in talk.of(Slice))
    assert visible(said(pairs_of(log, "log"))) == visible(talk.pairs)
    assert talk.pairs[0][0] == "how do bees live?"


def visible(pairs: list[Any]) -> list[Any]:
    return [tuple(pair) for pair in pairs if tuple(pair) != ("", "")]


def at_random(rng: Random, talk: Talk) -> None:
    """Somebody types, takes back, sends and interrupts, also while the engine is at work."""

    def something() -> Input:
        draw = rng.random()
        if draw < 0.2:
            return Edit(rng.choice((1, 1, 2, 3, 9)))
        if draw < 0.24:
            return Enter()
        if draw < 0.4:
            return UserText(" ")
        if draw < 0.43:
            return UserText("and then i said ", spoken=True)
        return UserText(rng.choice(("a", "b", "ca", "dog ", "how do bees live?", ".", "no, wait ", "  e")))

    for _ in range(120):
        until = talk.clock.now() + rng.choice((0.0, 0.02, 0.1, 0.1, 0.3, 1.0, 2.5))
        while (due := talk.conversation.next_due()) is not None and due <= until:
            talk.clock.move_to(due)
            talk.loop.turn()
            while talk.engine.busy:
                if rng.random() < 0.2:
                    talk.clock.move_to(talk.clock.now() + rng.choice((0.0, 0.0, 0.03)))
                    talk.hear(something())
                talk.loop.turn()
        talk.clock.move_to(max(until, talk.clock.now()))
        talk.hear(something())
    talk.until(talk.clock.now() + 30)


@pytest.mark.parametrize("slicing", [Slicing(), Slicing.parse(1.0)])
@pytest.mark.parametrize("reply", [knows, endless, lambda words: silent])
def test_a_row_is_what_the_model_remembers(reply: Callable[[Words], Reply], slicing: Slicing) -> None:
    refused = 0
    for seed in range(15):
        words = Words()
        talk = duplex_talk(reply(words), words, slicing=slicing, memory=Memory(limit=10**6))
        log = recorded(talk)
        at_random(Random(seed), talk)
        truth = visible([(user, model or "") for user, model in talk.pairs])
        try:
            pairs = pairs_of(log(), "log")
        except BadInput:
            refused += 1
            continue
        assert visible(said(pairs)) == truth, seed
    assert refused <= 1


# — rows —


def test_a_row_says_what_is_learned() -> None:
    pairs = [
        Pair("how", ends=False),
        Pair("do bees live", model="in a hive", ends=True),
        Pair("no", cut=True),
        Pair(""),
    ]
    row = row_of(7, pairs, {"participant": "p-a"})
    assert (row["id"], row["kind"], row["participant"]) == (7, "talk", "p-a")
    assert [m["role"] for m in row["output"]] == ["user", "assistant"] * 4
    assert [m["content"] for m in row["output"]] == [
        *("how", "<idle>", "do bees live", "in a hive", "no", "<idle>", "<idle>", "<idle>")
    ]
    assert row["weights"] == [DECISION, DECISION, CUT, DECISION]
    assert row["ends"] == [False, True, False, False]


def test_a_slice_cut_whole_teaches_nothing() -> None:
    events = [
        {"type": "duplex.slice", "index": 0, "user": "hello.", "idle": False},
        {"type": "response.output_text.delta", "response_id": "duplex-1", "slice": 0, "delta": "good day "},
        {"type": "duplex.slice", "index": 1, "user": "", "idle": False},
        {"type": "response.output_text.delta", "response_id": "duplex-1", "slice": 1, "delta": "to you"},
        {"type": "duplex.cut", "response_id": "duplex-1", "slice": 0, "unheard": "good day to you"},
    ]
    lines = [{"kind": "input", "at": 0.0, "text": "hello. "}, {"kind": "due", "at": 1.0}]
    lines += [{"kind": "event", "event": event} for event in events]
    log = Log({}, [{"system": "duplex", **line} for line in lines], list(range(len(lines))))
    assert pairs_of(log, "log") == [Pair("hello.", raw="hello. ", response_id="duplex-1", cut=True)]


def test_of_a_silence_one_pair_stays_and_none_at_the_beginning() -> None:
    _, log = duplex(lambda words: silent, [(6.0, UserText("hello. ")), (20.0, UserText("hello. "))], Slicing.parse(1.0))
    assert said(pairs_of(log, "log")) == [("hello.", ""), ("", ""), ("hello.", ""), ("", "")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"kind": "event", "event": {"type": "duplex.slice", "index": 0, "user": "other words", "idle": True}},
         "log line 9: expected a slice with what was typed"),
        ({"kind": "event", "event": {"type": "duplex.cut", "slice": 4, "response_id": "x", "unheard": "a"}},
         "log line 9: expected a line as the recorder writes it"),
        ({"kind": "event", "event": {}}, "log line 9: expected a line"),
        ({"kind": "input", "at": 1.0, "delete": -1}, "log line 9: expected"),
    ],
)  # fmt: skip
def test_a_recording_that_cannot_be_followed_is_refused(line: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        pairs_of(Log({}, [{"system": "duplex", **line}], [9]), "log")


def test_the_marker_of_silence_is_nothing_that_people_say() -> None:
    _, log = duplex(knows, keys("<idle> how do bees live?"))
    with pytest.raises(BadInput, match="got the marker <idle>"):
        pairs_of(log, "log")


# — dialogues —


def turns(script: Script, **options: Any) -> Log:
    words = Words()
    talk = turns_talk(knows(words), words, **options)
    log = recorded(talk)
    talk.play(script)
    return log()


def test_a_turn_based_talk_is_a_dialogue() -> None:
    log = turns([*keys("how do bees  live?"), (2.0, Enter()), *keys("and in winter?", at=20.0), (22.0, Enter())])
    assert turns_of(log, "log") == [("how do bees live?", ANSWER), ("and in winter?", "they sit close together")]


def test_of_an_answer_that_was_stopped_a_dialogue_has_what_was_seen() -> None:
    script = [*keys("how do bees live?"), (2.0, Enter()), *keys("and in winter?", at=3.0), (4.0, Enter())]
    first, second = turns_of(turns(script, barge_in=True), "log")
    assert first[0] == "how do bees live?" and ANSWER.startswith(first[1]) and first[1] != ANSWER
    assert second == ("and in winter?", "they sit close together")


# — of a study —


def talked(folder: Path, name: str, log: Log, system: str, overall: int | None = 5) -> Talked:
    file = folder / f"{name}.jsonl"
    lines = [log.header, *log.lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return Talked(name, file, name[:3], system, 1, 1, False, overall)


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> list[Talked]:
    folder = tmp_path_factory.mktemp("talks")
    script = [*keys("how do bees live? "), *keys("stop it ", at=3.0), *keys("and in winter? ", at=8.0)]
    _, log = duplex(knows, script)
    _, short = duplex(knows, keys("how do bees live? "))
    asked = turns([*keys("how do bees live?"), (2.0, Enter()), *keys("and in winter?", at=20.0), (22.0, Enter())])
    broken = talked(folder, "p-e-1-1-1", log, "duplex")
    broken.file.write_text("{}\n")
    return [
        talked(folder, "p-a-1-1-1", log, "duplex"),
        talked(folder, "p-b-1-1-1", log, "duplex", overall=None),
        talked(folder, "p-c-1-1-1", short, "duplex"),
        talked(folder, "p-d-2-1-1", asked, "strict", overall=6),
        broken,
        talked(folder, "p-f-2-1-1", log, "strict"),
    ]


def test_what_is_left_out_is_counted_with_its_reason(talks: list[Talked]) -> None:
    aligned = aligned_of(talks)
    assert [row["talk"] for row in aligned.rows] == ["p-a-1-1-1", "p-b-1-1-1"]
    assert [(row["talk"], row["system"], row["overall"]) for row in aligned.dialogues] == [("p-d-2-1-1", "strict", 6)]
    assert aligned.left_out == {"too short": 1, "recording missing, broken, or not to be followed": 2}
    bound = aligned_of(talks, min_overall=6)
    assert (bound.rows, len(bound.dialogues)) == ([], 1)
    assert bound.left_out == {"not rated 6 or more": 5}


def test_real_talks_become_what_a_model_is_trained_with(talks: list[Talked], tmp_path: Path) -> None:
    """`duplex data build --source rows.jsonl`, and training rows of what it makes."""
    from duplex_runtime.alignment.build import Settings, make_shard
    from duplex_runtime.alignment.data import FileBatches, read_rows, row_pairs
    from duplex_runtime.alignment.sources import Faults, read
    from duplex_runtime.alignment.weave import Plan
    from duplex_runtime.layout import EMBEDDED

    aligned = aligned_of(talks)
    for name, made in aligned.files().items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    sources = [str(tmp_path / f"{name}.jsonl") for name in ("rows", "dialogues")]
    dialogues = [dialogue for source in sources for dialogue in read(source, Faults(stop=True))]
    settings = Settings("x", plan=Plan(shares=(("uninterrupted", 1.0),)))
    counts = make_shard(0, 0, dialogues, settings, {}, tmp_path)
    assert counts.rows.total() == 3 and counts.rows["sliced"] == 2
    words = Words()
    first = next(row for _, row in read_rows(tmp_path / "rows-00000.jsonl"))
    assert first["output"] == aligned.rows[0]["output"]
    pairs = row_pairs("row", first, words.encode)
    assert [(pair.weight, pair.final) for pair in pairs] == list(
        zip(aligned.rows[0]["weights"], aligned.rows[0]["ends"], strict=True)
    )
    batch = FileBatches(tmp_path, EMBEDDED, words, 32, seed=1).batch(0, 2)
    assert batch.ids.shape == batch.weights.shape == (2, 33) and batch.ids[0, 0] == EMBEDDED.bos
    assert 0 < (batch.weights == 1.0).sum() < batch.weights.size
    stopped = next(pair for pair in pairs if pair.user.startswith("stop"))
    assert stopped.model == () and stopped.weight == DECISION  # it yields
