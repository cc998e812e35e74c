import re
import tomllib
from itertools import product
from pathlib import Path

import pytest

from tests.study_files import THREE, study
from webapp.study.assignment import assign
from webapp.study.definition import BUILT_IN, SYSTEMS, Study
from webapp.study.reader import Refused
from webapp.study.steps import CODES, AnswersRefused, check_answers, way_of
from webapp.study.texts import (
    FOLDER,
    MOMENT,
    card_of,
    explain,
    fill,
    languages_here,
    placeholders,
    read_texts,
    say,
    texts_of,
    visible,
)

VOICE = (('way = "typing"', 'way = "voice"'), ("# audio = true", "audio = true"))
EITHER = (('way = "typing"', 'way = "either"'), ("# audio = true", "audio = false"))
BOTH = ('languages = ["en"]', 'languages = ["en", "zh"]')
AGE = '[[about_you.questions]]\nkey = "age"\n'


@pytest.fixture
def arena(tmp_path: Path) -> Study:
    return study(tmp_path / "arena", BOTH)


def shipped(language: str) -> dict[str, str]:
    texts, problems = read_texts(language, Path("nowhere"))
    assert not problems
    return texts


# — the files —


def test_english_and_chinese_are_here() -> None:
    assert languages_here() == ("en", "zh")


@pytest.mark.parametrize("language", languages_here())
def test_every_language_has_the_same_keys_and_placeholders_and_no_empty_text(language: str) -> None:
    def flat(values: dict[str, object], before: str = "") -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in values.items():
            found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
        return found

    english, other = (
        flat(tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))) for name in ("en", language)
    )
    assert list(other) == list(english)
    for key, text in other.items():
        assert isinstance(text, str) and text.strip() == text and text, key
        assert placeholders(text) == placeholders(str(english[key])), key
        assert text.count("{") == text.count("}") == len(re.findall(r"\{[a-z_0-9]+\}", text)), key


def test_chinese_texts_are_chinese() -> None:
    names = {key for key, text in shipped("zh").items() if not re.search(r"[\u4e00-\u9fff]", text)}
    assert names == {"part.consent.payment"}


def test_every_text_is_said_somewhere() -> None:
    """By the page, by the server, or as the words of something that a step asks."""
    root = FOLDER.parents[2]
    code = "".join(path.read_text() for path in (*root.glob("static/study/*.js"), *root.glob("webapp/study/*.py")))
    asked = ("part.", "rate.", "about.", "compare.", "consent.", "device.", "done.system.", "step.", "error.")
    unsaid = [key for key in shipped("en") if key not in code and not key.startswith(asked)]
    assert not unsaid


@pytest.mark.parametrize("language", languages_here())
def test_every_message_code_has_a_sentence(language: str) -> None:
    assert not [code for code in CODES if f"error.{code}" not in shipped(language)]


@pytest.mark.parametrize("language", languages_here())
def test_every_system_and_question_has_its_words(language: str) -> None:
    texts = shipped(language)
    assert not [system for system in SYSTEMS if f"done.system.{system}" not in texts]
    for question in BUILT_IN.values():
        assert f"about.{question.key}" in texts
        assert not [option.key for option in question.options if f"about.{question.key}.{option.key}" not in texts]


@pytest.mark.parametrize("language", languages_here())
def test_no_text_before_the_end_tells_how_the_systems_differ(language: str) -> None:
    names = re.compile(r"duplex|strict|barge|turn-based|双工|轮流", re.IGNORECASE)
    told = {key for key, text in shipped(language).items() if names.search(text)}
    assert not told


# — the texts of a study —


@pytest.mark.parametrize(("language", "changes"), list(product(languages_here(), [(), VOICE, EITHER, THREE])))
def test_every_step_and_item_has_its_words(language: str, changes: tuple[tuple[str, str], ...], tmp_path: Path) -> None:
    some = study(tmp_path, *changes, BOTH)
    texts = texts_of(some, language)
    for step in way_of(some, assign(some, 0)):
        assert texts[f"step.{step.kind}"]
        for item in step.items:
            assert texts[item.text], item
            assert all(texts[f"{item.text}.{option}"] for option in item.options), item
            if item.kind == "scale":
                assert texts[f"{item.text}.{item.low}"] and texts[f"{item.text}.{item.high}"]


@pytest.mark.parametrize("language", languages_here())
@pytest.mark.parametrize("preset", ["arena", "paper"])
def test_only_what_the_moment_brings_is_left_to_fill(language: str, preset: str, tmp_path: Path) -> None:
    texts = texts_of(study(tmp_path, preset=preset), language)
    assert {key: left for key, text in texts.items() if (left := placeholders(text) - MOMENT)} == {}
    assert not [key for key in texts if key.startswith("part.")]


def test_the_paper_s_anchors_stand_at_one_four_and_seven(arena: Study) -> None:
    texts = texts_of(arena, "en")
    points = [texts.get(f"rate.overall.{number}") for number in range(1, 8)]
    assert points == ["Disappointing", None, None, "Neither good nor bad", None, None, "Excellent"]
    assert texts["rate.speed.7"] == "Strongly agree"


def test_an_attention_check_says_what_to_choose(arena: Study) -> None:
    for number in range(8):
        way = {step.key: step for step in way_of(arena, assign(arena, number))}
        check = next(item for item in way["rate-1"].items if item.right is not None)
        for language in ("en", "zh"):
            assert re.findall(r"\d", texts_of(arena, language)[check.text]) == [str(check.right)]


def test_preferences_name_the_letters_of_their_pair(tmp_path: Path) -> None:
    texts = texts_of(study(tmp_path, *THREE), "en")
    assert placeholders(texts["compare.preference-1-3"]) == {"label_1", "label_3"}
    assert texts["compare.preference-1-3.3-slightly"] == "Partner {label_3}, but only just"
    assert texts["compare.guess.2"] == "Partner {label_2}"


# — consent —


def consent(folder: Path, *changes: tuple[str, str], language: str = "en") -> str:
    return texts_of(study(folder, *changes), language)["consent.body"]


def test_consent_says_who_what_how_long_and_how_to_leave(tmp_path: Path) -> None:
    body = consent(tmp_path)
    for words in ("Ann, a@example.org", "2 computer programs", "25 minutes", "365 days", "voluntary"):
        assert words in body
    assert texts_of(study(tmp_path), "en")["page.withdraw"] in body
    assert "Prolific" not in body
    assert "\n\n\n" not in body


@pytest.mark.parametrize("language", languages_here())
def test_the_button_to_leave_is_called_by_its_name(language: str) -> None:
    texts = shipped(language)
    assert texts["page.withdraw"] in texts["part.consent.withdraw"]
    assert texts["page.retry"] in texts["page.other_tab"]
    assert texts["page.start"] in texts["practice.try_keys"]
    assert texts["page.start"] in texts["practice.try_speech"]


def test_consent_says_what_is_true_of_this_study(tmp_path: Path) -> None:
    parts = shipped("en")
    typed, spoken, either = consent(tmp_path / "a"), consent(tmp_path / "b", *VOICE), consent(tmp_path / "c", *EITHER)
    keys, speech, audio, no_audio = (parts[f"part.consent.{name}"] for name in ("keys", "speech", "audio", "no_audio"))
    assert [part in typed for part in (keys, speech, audio, no_audio)] == [True, False, False, False]
    assert [part in spoken for part in (keys, speech, audio, no_audio)] == [False, True, True, False]
    assert [part in either for part in (keys, speech, audio, no_audio)] == [True, True, False, True]
    mirror = parts["part.consent.mirror"]
    assert mirror not in typed and mirror in consent(tmp_path / "m", ('# mirror = "OWNER/NAME"', 'mirror = "a/b"'))
    assert parts["part.consent.kept"] in consent(tmp_path / "d", ("retention_days = 365", "retention_days = 0"))
    assert parts["part.consent.publish"] not in consent(tmp_path / "e", ("publish = true", "publish = false"))
    paid = consent(tmp_path / "f", ('source = ""', 'source = "prolific"'), ("# payment = {en = ", "payment = {en = "))
    assert parts["part.consent.prolific"] in paid
    assert "You get £4" in paid


def test_an_ethics_board_may_have_its_own_words(tmp_path: Path) -> None:
    own = ('# text = {en = """…""", zh = """…"""}', 'text = {en = "Agree? {contact} {x}"}')
    assert consent(tmp_path, own) == "Agree? Ann, a@example.org {x}"


# — languages —


def test_who_reads_another_language_than_the_model_speaks_is_told(arena: Study) -> None:
    assert texts_of(arena, "en")["talk.note"] == ""
    assert "英语" in texts_of(arena, "zh")["talk.note"]


def test_a_study_changes_single_texts(arena: Study) -> None:
    (arena.folder / "texts").mkdir()
    (arena.folder / "texts" / "en.toml").write_text('[done]\nthanks = "Ta!"\n[about.age]\ntext = "Age?"\n')
    texts = texts_of(arena, "en")
    assert (texts["done.thanks"], texts["about.age"]) == ("Ta!", "Age?")
    assert texts["done.close"] == shipped("en")["done.close"]


def test_what_is_wrong_with_a_study_s_texts_is_told_with_its_line(arena: Study) -> None:
    (arena.folder / "texts").mkdir()
    path = arena.folder / "texts" / "en.toml"
    path.write_text('[done]\nthank = "Ta!"\nclose = " "\ncode = "{cod}"\nreturn = 3\n[page]\nprogress = "{at}"\n')
    with pytest.raises(Refused) as caught:
        texts_of(arena, "en")
    found = {problem.key: (problem.line, problem.message) for problem in caught.value.problems}
    assert [found[f"done.{key}"][0] for key in ("thank", "close", "code", "return")] == [2, 3, 4, 5]
    assert found["done.code"][1] == "expected {code}, got {cod}"
    assert set(found) == {"done.thank", "done.close", "done.code", "done.return"}


def test_a_file_of_texts_that_is_no_toml_is_told(arena: Study) -> None:
    (arena.folder / "texts").mkdir()
    (arena.folder / "texts" / "en.toml").write_text("[done\n")
    with pytest.raises(Refused, match="line 1"):
        texts_of(arena, "en")


def test_another_language_needs_all_its_texts(arena: Study) -> None:
    with pytest.raises(Refused, match=r"de\.toml: there are texts in en, zh"):
        texts_of(arena, "de")
    (arena.folder / "texts").mkdir()
    path = arena.folder / "texts" / "de.toml"
    path.write_text('[done]\nthanks = "Danke!"\n')
    with pytest.raises(Refused, match=r"texts are missing: page\.next"):
        texts_of(arena, "de")
    english = (FOLDER / "en.toml").read_text(encoding="utf-8").replace('next = "Next"', 'next = "Weiter"')
    path.write_text(english.replace("[part.language]", '[part.language]\nde = "Deutsch"'), encoding="utf-8")
    assert texts_of(arena, "de")["page.next"] == "Weiter"


# — blind —


def test_what_tells_how_the_systems_differ_is_shown_on_its_own_page_only(arena: Study) -> None:
    texts = texts_of(arena, "en")
    telling = {"compare.guess": "compare", "done.how": "done", "done.system.strict": "done"}
    for step in way_of(arena, assign(arena, 0)):
        shown = visible(texts, step)
        assert {key: kind for key, kind in telling.items() if key in shown} == {
            key: kind for key, kind in telling.items() if kind == step.kind
        }
        assert "page.next" in shown and f"step.{step.kind}" in shown


# — cards, questions, messages —


def test_a_card_is_in_the_language_of_its_reader(arena: Study) -> None:
    assert card_of(arena, "en", "story")["title"] == "A story of your own"
    assert card_of(arena, "zh", "story")["title"] == "自己的故事"
    assert "\n\n" not in card_of(arena, "en", "story")["text"]


def test_a_card_of_the_paper_gives_the_sentence_to_begin_with(tmp_path: Path) -> None:
    paper = study(tmp_path, preset="paper")
    assert card_of(paper, "en", "sky")["text"].endswith("Please begin with this sentence: Why is the sky blue?")
    assert card_of(paper, "zh", "sky")["text"].endswith("请用这句话开头：Why is the sky blue?")


def test_a_study_s_own_question_has_its_own_words(tmp_path: Path) -> None:
    own = (
        AGE,
        '[[about_you.questions]]\nkey = "hand"\nkind = "choice"\ntext = {en = "Which hand?", zh = "哪只手？"}\n'
        'options = [{key = "left", text = {en = "Left", zh = "左手"}}, {key = "right", text = "Right"}]\n',
    )
    some = study(tmp_path, own, BOTH)
    texts = texts_of(some, "zh")
    assert (texts["own.hand"], texts["own.hand.left"], texts["own.hand.right"]) == ("哪只手？", "左手", "Right")


def test_a_refusal_is_explained_item_by_item(arena: Study) -> None:
    rate = next(step for step in way_of(arena, assign(arena, 0)) if step.kind == "rate")
    with pytest.raises(AnswersRefused) as caught:
        check_answers(rate, {"overall": 9, "comment": "x" * 5000, "<b>": 1})
    said = explain(texts_of(arena, "en"), rate, caught.value)
    assert said["overall"] == "Please choose a point from 1 to 7."
    assert said["comment"] == "This is too long. There is room for 4,000 characters."
    assert said["factuality"] == "Please answer this."
    assert said["<b>"].startswith("This answer belongs to no question")


def test_a_message_without_a_sentence_is_the_one_for_what_nobody_expected(arena: Study) -> None:
    texts = texts_of(arena, "zh")
    assert say(texts, "error.never_heard_of") == texts["error.unexpected"]
    assert say(texts, "error.too_soon", seconds=20, turns=1) == "请再聊一会儿。还差：对话时间 20 秒，发言 1 次。"


def test_what_is_filled_in_is_not_filled_again() -> None:
    assert fill("{a} {b} {c}", {"a": "{b}", "b": 1}) == "{b} 1 {c}"
    assert fill("{a.__class__} {0} {}", {"a": 1, "0": 2}) == "{a.__class__} 2 {}"
