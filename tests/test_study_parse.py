from pathlib import Path

import pytest

from tests.study_files import THREE, study, study_file
from webapp.study.definition import Option, Question
from webapp.study.parse import draft
from webapp.study.reader import Refused, Words

AGE = '[[about_you.questions]]\nkey = "age"\n'
SYSTEMS = 'systems = ["duplex", "strict"]'


def problems(folder: Path, *changes: tuple[str, str], preset: str = "arena") -> list[tuple[str, str]]:
    """Key and message of every mistake."""
    path = study_file(folder, *changes, preset=preset)
    found = draft(path)[1]
    assert all(problem.line for problem in found), "each has a line"
    lines = path.read_text(encoding="utf-8").splitlines()
    for problem in found:  # the line is that of the key, or of the table in which it is missing
        last = problem.key.split(".")[-1].split("[")[0]
        assert last in lines[problem.line - 1] or lines[problem.line - 1].startswith("["), problem
    return [(problem.key, problem.message) for problem in found]


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ('name = "my-study"', 'name = "My Study"', "name", "small letters"),
        ('name = "my-study"', 'name = "../up"', "name", "small letters"),
        ('languages = ["en"]', 'languages = ["English"]', "languages", "such as en, zh or pt-BR"),
        ('languages = ["en"]', 'languages = ["en", "en"]', "languages", "each once"),
        ('way = "typing"', "way = 3", "way", "typing, voice, either, got 3"),
        (SYSTEMS, 'systems = ["duplex", "telepathy"]', "systems", "duplex, strict, barge-in, got 'telepathy'"),
        (SYSTEMS, 'systems = ["duplex"]', "systems", "2 to 3"),
        (SYSTEMS, 'systems = ["duplex", "barge_in"]', "systems", "did you mean 'barge-in'?"),
        ('protocol = "arena"', 'protocol = "chess"', "protocol", "arena, paper"),
        ("seed = 0", "seed = -1", "seed", "0 to 2147483647, got -1"),
        ("seed = 0", "seed = 2147483648", "seed", "0 to 2147483647"),
        ("seed = 0", "seed = true", "seed", "got True"),
        ("seed = 0", "seed = 1.0", "seed", "got 1.0"),
        ("seed = 0", "seed = nan", "seed", "got nan"),
        ("block = 4", "block = 3", "block", "multiple of the 2 orders of the systems, got 3"),
        ("minutes = 25", 'minutes = "25"', "consent.minutes", "got '25'"),
        ("publish = true", "publish = 1", "consent.publish", "true or false, got 1"),
        ("# audio = true", "audio = true", "consent.audio", "there is no voice to record"),
        ("sessions = 3", "sessions = 7", "tasks.sheet", "a card for each of the 7 talks with a system, got 6"),
        ("min_seconds = 60", "min_seconds = 0", "tasks.min_seconds", "1 to 3600"),
        ('key = "story"', 'key = "enough"', "tasks.sheet[6].key", "'enough' again"),
        ('key = "story"', 'key = "A story"', "tasks.sheet[6].key", "small letters"),
        ("attention = 2", "attention = 5", "ratings.attention", "0 to 4, got 5"),
        ('"factuality", ', '"facts", ', "ratings.scales", "got 'facts'"),
        ("attention_failed = 2", "attention_failed = 3", "exclude.attention_failed", "0 to 2, got 3"),
        ('source = ""', 'source = "street"', "completion.source", "prolific, got 'street'"),
        ('source = ""', 'url = "http://example.org"', "completion.url", "https://"),
        ('source = ""', 'code = "A B"', "completion.code", "without spaces"),
        ('"sqlite:///study.db"', '"study.db"', "storage.database", "sqlite:///FILE or postgresql://"),
        ('"sqlite:///study.db"', '"sqlite:///:memory:"', "storage.database", "sqlite:///FILE or postgresql://"),
        ("retention_days = 365", "retention_days = -1", "storage.retention_days", "got -1"),
        ('# mirror = "OWNER/NAME"', 'mirror = "study"', "storage.mirror", "a data set of the hub, OWNER/NAME"),
        ('token_env = "DUPLEX', 'token_env = "$DUPLEX', "admin.token_env", "environment variable"),
        ("comment = true", "coment = true", "ratings.coment", "did you mean 'comment'?"),
        ("[compare]", "[comparison]", "comparison", "did you mean 'compare'?"),
    ],
)
def test_each_mistake_is_told_where_it_stands(tmp_path: Path, old: str, new: str, key: str, message: str) -> None:
    found = problems(tmp_path, (old, new))
    assert [name for name, _ in found] == [key]
    assert message in found[0][1]


def test_all_mistakes_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = problems(tmp_path, ("seed = 0", "seed = -1"), ("minutes = 25", "minutes = 0"), ("attention = 2", "x = 2"))
    assert [key for key, _ in found] == ["seed", "consent.minutes", "ratings.x"]


def test_a_missing_contact_and_title_are_missed(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('name = "a"\n')
    found = {problem.key: problem.message for problem in draft(path)[1]}
    assert set(found) == {"title", "consent.contact", "tasks.sheet"}


def test_a_table_that_is_no_table_is_told(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('name = "a"\ntitle = "b"\nconsent = 3\ntasks = {sheet = [1]}\n')
    found = {problem.key for problem in draft(path)[1]}
    assert {"consent", "tasks.sheet[1]"} <= found


def test_where_there_is_no_study_it_says_how_to_write_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.toml"):
        with pytest.raises(Refused, match="duplex study new NAME"):
            draft(path)


@pytest.mark.parametrize("way", ["voice", "either"])
def test_who_lets_people_speak_says_whether_their_voice_is_kept(tmp_path: Path, way: str) -> None:
    spoken = ('way = "typing"', f'way = "{way}"')
    assert [key for key, _ in problems(tmp_path, spoken)] == ["consent.audio"]
    for audio in ("true", "false"):
        read = study(tmp_path, spoken, ("# audio = true", f"audio = {audio}"))
        assert read.consent.audio == (audio == "true")


def test_three_systems_need_blocks_of_six(tmp_path: Path) -> None:
    assert problems(tmp_path, *THREE) == []
    assert [key for key, _ in problems(tmp_path, THREE[0])] == ["block"]


def test_nobody_guesses_who_listened_where_nobody_did(tmp_path: Path) -> None:
    deaf = (SYSTEMS, 'systems = ["strict", "barge-in"]')
    assert [key for key, _ in problems(tmp_path, deaf)] == ["compare.guess"]
    assert problems(tmp_path, deaf, ("guess = true", "guess = false")) == []


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (SYSTEMS, 'systems = ["strict", "barge-in"]', "systems"),
        ("sessions = 5", "sessions = 4", "tasks.sessions"),
        ('"factuality", ', "", "ratings.scales"),
        ("block = 2", "block = 3", "block"),
        ('first = "Why is the sky blue?"\n', "", "tasks.sheet[3]"),
    ],
)
def test_the_paper_s_protocol_is_kept(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert [name for name, _ in problems(tmp_path, (old, new), preset="paper")] == [key]


# — questions about the participant —


def test_a_question_of_ours_needs_only_its_name(tmp_path: Path) -> None:
    read = study(tmp_path, (AGE, f"{AGE}required = true\n"))
    age = read.about_you.questions[0]
    assert (age.kind, age.low, age.high, age.required, age.text) == ("number", 18, 120, True, None)
    assert [question.key for question in read.about_you.questions] == ["age", "gender", "english", "assistants"]


def test_a_question_of_their_own_brings_its_words(tmp_path: Path) -> None:
    own = (
        AGE,
        """
[[about_you.questions]]
key = "typing"
kind = "choice"
text = {en = "How do you type?", zh = "您怎样打字？"}
options = [{key = "ten", text = "With all fingers"}, {key = "few", text = "With a few"}]

[[about_you.questions]]
key = "hours"
kind = "number"
text = "Hours a day at a keyboard"
high = 24

[[about_you.questions]]
key = "remarks"
text = "Remarks"
longest = 100
""",
    )
    typing, hours, remarks = study(tmp_path, own).about_you.questions[:3]
    assert typing.text == Words((("en", "How do you type?"), ("zh", "您怎样打字？")))
    assert typing.options == (
        Option("ten", Words((("", "With all fingers"),))),
        Option("few", Words((("", "With a few"),))),
    )
    assert (hours.low, hours.high) == (0, 24)
    assert remarks == Question("remarks", "text", Words((("", "Remarks"),)), longest=100)


@pytest.mark.parametrize(
    ("lines", "key", "message"),
    [
        ('key = "shoe"', "about_you.questions[1].key", "age, gender"),
        ('key = "shoe"\nkind = "number"', "about_you.questions[1].text", "add it"),
        ('key = "shoe"\nkind = "size"\ntext = "x"', "about_you.questions[1].kind", "choice, number, text"),
        ('key = "shoe"\nkind = "choice"\ntext = "x"', "about_you.questions[1].options", "at least two"),
        ('key = "shoe"\nkind = "number"\ntext = "x"\nlow = 2\nhigh = 1', "about_you.questions[1].low", "at most high"),
        ('key = "shoe"\nkind = "number"\ntext = "x"\nlongest = 3', "about_you.questions[1].longest", "no such key"),
        ('key = "gender"', "about_you.questions[2].key", "'gender' again"),
    ],
)
def test_a_question_that_cannot_be_asked_is_told(tmp_path: Path, lines: str, key: str, message: str) -> None:
    found = problems(tmp_path, (AGE, f"[[about_you.questions]]\n{lines}\n"))
    assert [name for name, _ in found] == [key]
    assert message in found[0][1]
