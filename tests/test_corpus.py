import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from duplex_runtime.alignment.corpus import ABOUT, FOLDER, Corpus, Exchange, load, split
from duplex_runtime.alignment.noise import normal
from duplex_runtime.errors import BadInput


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load()


def everything(corpus: Corpus) -> list[Exchange]:
    inner = [q for topic in corpus.topics for q in topic.inner]
    return [*corpus.facts, *corpus.talk, *corpus.long, *inner]


def test_there_is_much_to_talk_about(corpus: Corpus) -> None:
    assert len(corpus.topics) >= 200
    assert len(corpus.facts) >= 400
    assert len(corpus.talk) >= 190
    assert len(corpus.howtos) >= 60
    assert sum(len(e.wordings) for e in everything(corpus)) >= 10_000


def test_ids_are_unique(corpus: Corpus) -> None:
    assert [k for k, n in Counter(e.id for e in everything(corpus)).items() if n > 1] == []


def test_ids_are_lower_case_with_dashes(corpus: Corpus) -> None:
    assert [e.id for e in everything(corpus) if set(e.id) - set("abcdefghijklmnopqrstuvwxyz0123456789-")] == []


def test_held_out_wordings_are_never_trained(corpus: Corpus) -> None:
    for exchange in everything(corpus):
        trained, held = exchange.asks(held_out=False), exchange.asks(held_out=True)
        assert trained and held, exchange.id
        assert sorted((*trained, *held)) == sorted((*exchange.wordings, *exchange.more))
        assert not set(exchange.more) & set(held)
        same = {normal(w) for w in trained} & {normal(w) for w in held}
        assert not same, f"{exchange.id}: {same}"


def test_about_a_quarter_of_the_wordings_is_held_out(corpus: Corpus) -> None:
    wordings = sum(len(e.wordings) for e in everything(corpus))
    held = sum(len(e.asks(held_out=True)) for e in everything(corpus))
    assert 0.2 <= held / wordings <= 0.3


def test_every_shared_wording_is_trained_with_some_topic_and_held_out_with_another(corpus: Corpus) -> None:
    head = {template.split("{name}")[0] for template in ABOUT}
    for held_out in (False, True):
        asked = {w for t in corpus.topics for w in t.asks(held_out)}
        assert [h for h in head if h and not any(w.startswith(h) for w in asked)] == []


def test_hardly_any_held_out_wording_is_trained_as_another_question(corpus: Corpus) -> None:
    trained = {normal(w) for e in everything(corpus) for w in e.asks(held_out=False)}
    held = [normal(w) for e in everything(corpus) for w in e.asks(held_out=True)]
    assert sum(w in trained for w in held) / len(held) < 0.01


def test_hardly_any_question_has_two_answers(corpus: Corpus) -> None:
    ids: dict[str, set[str]] = {}
    for exchange in everything(corpus):
        for wording in exchange.wordings:
            ids.setdefault(normal(wording), set()).add(exchange.id)
    assert sum(len(i) > 1 for i in ids.values()) / len(ids) < 0.01


def test_questions_are_written_with_an_end_mark(corpus: Corpus) -> None:
    assert [w for e in everything(corpus) for w in e.wordings if w[-1] not in ".?!"] == []


def test_answers_are_plain_ascii_and_end(corpus: Corpus) -> None:
    for exchange in everything(corpus):
        assert exchange.answer.isascii(), exchange.id
        assert exchange.answer[-1] in ".?!", exchange.id
        assert all(p == p.strip() and p for p in exchange.parts), exchange.id


def test_explanations_are_long_enough_to_interrupt(corpus: Corpus) -> None:
    assert [t.id for t in corpus.topics if not 4 <= len(t.parts) <= 8 or not t.inner] == []
    assert [e.id for e in corpus.long if len(e.parts) < 4] == []


def test_a_list_reads_as_a_sentence(corpus: Corpus) -> None:
    for exchange in corpus.lists:
        assert exchange.parts[-1].startswith("and "), exchange.id
        assert all(p.endswith(",") for p in exchange.parts[:-1]), exchange.id


def test_phrases_are_not_empty_and_not_repeated(corpus: Corpus) -> None:
    for kind, phrases in (corpus.phrases | corpus.manners).items():
        assert phrases, kind
        assert len(set(phrases)) == len(phrases), kind
        assert all(p.strip() for p in phrases), kind


def test_the_last_quarter_of_what_people_say_is_held_out() -> None:
    items = [str(i) for i in range(10)]
    assert [*split(items, False), *split(items, True)] == items
    assert list(split(items, True)) == ["8", "9"]
    assert split(items[:5], False) == split(items[:5], True) == items[:5]


def test_what_people_tell_can_be_told_and_asked_for(corpus: Corpus) -> None:
    memory = corpus.memory
    assert len(memory["names"]) >= 100
    assert len(memory["facts"]) >= 12
    for key in ("tell_name", "name_ok", "name_is"):
        assert all("{name}" in line for line in memory[key]), key
    for fact in memory["facts"]:
        for key in ("tell", "answer"):
            assert all("{value}" in line for line in fact[key]), (fact["id"], key)
        for line in (*fact["ask"], *fact["unknown"]):
            assert "{" not in line, (fact["id"], line)
        assert len(set(fact["values"])) == len(fact["values"]), fact["id"]


def test_words_have_one_opposite_and_plain_letters(corpus: Corpus) -> None:
    asked = [word for word, _ in corpus.words["opposites"]]
    assert len(set(asked)) == len(asked) >= 80
    assert all(word.isalpha() and word.islower() for word in corpus.words["spelling"])
    for key in ("opposite_asks", "spelling_asks"):
        assert all("{word}" in ask for ask in corpus.words[key])


def test_what_is_misheard_is_another_word(corpus: Corpus) -> None:
    pairs = corpus.heard["homophones"]
    assert all(right != heard and right.islower() for right, heard in pairs)
    assert len({right for right, _ in pairs}) >= 100


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(FOLDER, folder)
    path = folder / "facts.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], "{oops", *lines[2:]]), encoding="utf-8")
    with pytest.raises(BadInput, match=r"facts\.jsonl line 2: expected a JSON object"):
        load(folder)


def test_every_file_of_the_corpus_is_read(corpus: Corpus) -> None:
    ids = {e.id for e in everything(corpus)}
    for path in FOLDER.glob("*.jsonl"):
        first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
        assert first["id"] in ids, path.name
