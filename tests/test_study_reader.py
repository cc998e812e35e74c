from pathlib import Path

import pytest

from webapp.study.reader import Notes, Problem, Refused, Words, dotted, lines_of

TEXT = '''\
name = "x"            # a comment
one = 1
yes = true
inline = {en = "a", zh = "b"}

[consent]
version = "1"
text.en = """
version = 2
[not a header]
"""

[[tasks.sheet]]
key = "first"
[tasks.sheet.text]
en = "one"

[[tasks.sheet]]
key = "second"
"odd key" = 1
'''


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    path = tmp_path / "study.toml"
    path.write_text(TEXT)
    return Notes.of(path)


def messages(notes: Notes) -> list[tuple[int, str]]:
    return [(problem.line, problem.message) for problem in notes.problems]


# — where things stand —


def test_every_key_and_header_has_its_line() -> None:
    found = lines_of(TEXT)
    assert found[("name",)] == 1
    assert found[("inline",)] == 4
    assert found[("consent",)] == 6
    assert found[("consent", "version")] == 7
    assert found[("consent", "text", "en")] == 8
    assert found[("tasks", "sheet", 0)] == 13
    assert found[("tasks", "sheet", 0, "key")] == 14
    assert found[("tasks", "sheet", 0, "text")] == 15
    assert found[("tasks", "sheet", 0, "text", "en")] == 16
    assert found[("tasks", "sheet", 1, "key")] == 19
    assert found[("tasks", "sheet", 1, "odd key")] == 20
    assert not any("not a header" in map(str, path) for path in found)


def test_what_has_no_line_stands_at_what_it_belongs_to(notes: Notes) -> None:
    assert notes.line(("inline", "zh")) == 4
    assert notes.line(("tasks", "sheet", 1, "title")) == 18
    assert notes.line(("nowhere",)) == 0


def test_entries_of_lists_count_from_one() -> None:
    assert dotted(("tasks", "sheet", 0, "text", "en")) == "tasks.sheet[1].text.en"


def test_a_problem_says_where_it_is() -> None:
    assert str(Problem("a.toml", 3, "seed", "wrong")) == "a.toml line 3: seed: wrong"
    assert str(Problem("a.toml", 0, "", "not TOML")) == "a.toml: not TOML"


# — files —


def test_a_mistake_of_toml_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('name = "x"\nseed = = 1\n')
    with pytest.raises(Refused) as caught:
        Notes.of(path)
    assert [problem.line for problem in caught.value.problems] == [2]
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b'name = "\xff"\n')
    with pytest.raises(Refused, match="expected UTF-8"):
        Notes.of(path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        Notes.of(tmp_path)


# — values —


def test_values_of_the_right_kind_come_through(notes: Notes) -> None:
    table = notes.table()
    assert table.text("name", None) == "x"
    assert table.number("one", 5, 0, 10) == 1
    assert table.flag("yes", False) is True
    assert table.words("inline") == Words((("en", "a"), ("zh", "b")))
    assert [entry.text("key", None) for entry in table.child("tasks").children("sheet")] == ["first", "second"]
    assert not notes.problems


def test_what_is_absent_is_the_default_and_no_problem(notes: Notes) -> None:
    table = notes.table()
    assert table.text("a", "b") == "b"
    assert table.number("c", 5, 0, 10) == 5
    assert table.flag("d", True) is True
    assert table.choice("e", "f", ("f", "g")) == "f"
    assert table.choices("h", ("i",), ("i", "j"), 1, 2) == ("i",)
    assert table.words("k") is None
    assert table.child("l").children("m") == ()
    assert not notes.problems


def test_wrong_kinds_are_noted_with_their_line_and_become_the_default(notes: Notes) -> None:
    table = notes.table()
    assert table.number("yes", 5, 0, 10) == 5  # true is no 1
    assert table.flag("one", False) is False  # and 1 is not true
    assert table.text("one", "b") == "b"
    assert table.choice("name", "f", ("f", "g")) == "f"
    assert table.choices("name", (), (), 1, 2) == ()
    assert [problem.line for problem in notes.problems] == [3, 2, 2, 1, 1]
    assert all("expected" in problem.message and "got" in problem.message for problem in notes.problems)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('list = ["a", "a"]', "each once"),
        ("list = []", "list of 1 to 2"),
        ('list = ["a", "b", "c"]', "got 'c'"),
        ('list = ["a", 1]', "got 1 in it"),
        ('list = ["bb"]', "did you mean 'b'"),
    ],
)
def test_lists_of_words_are_held_to_what_is_known(line: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(line)
    notes = Notes.of(path)
    assert notes.table().choices("list", ("a",), ("a", "b"), 1, 2) == ("a",)
    assert expected in notes.problems[0].message


def test_what_has_to_be_there_is_missed(notes: Notes) -> None:
    table = notes.table().child("consent")
    table.text("contact", None, expected="who is responsible")
    table.needed_words("title")
    assert [(line, "add it" in message) for line, message in messages(notes)] == [(6, True), (6, True)]


@pytest.mark.parametrize("value", ['""', '"   "', '{en = ""}', "{}", '{english = "a"}', "{en = 1}"])
def test_words_are_not_empty_and_their_languages_are_codes(value: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f"title = {value}")
    notes = Notes.of(path)
    notes.table().needed_words("title")
    assert len(notes.problems) == 1


def test_unknown_keys_are_noted_and_the_nearest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text("seed = 1\nsessoins = 2\n")
    notes = Notes.of(path)
    table = notes.table()
    table.number("seed", 0, 0, 10)
    table.number("sessions", 0, 0, 10)
    table.close()
    assert messages(notes) == [(2, "there is no such key; expected seed, sessions (did you mean 'sessions'?)")]


# — words —


def test_words_fall_back_to_what_there_is() -> None:
    both = Words((("en", "a"), ("zh", "b")))
    assert (both.of("zh"), both.of("de")) == ("b", "a")
    assert Words((("", "c"),)).of("zh") == "c"


def test_words_know_what_they_lack() -> None:
    assert Words((("en", "a"),)).lacks(("en", "zh")) == ("zh",)
    assert Words((("", "a"),)).lacks(("en", "zh")) == ("en", "zh")
    assert Words((("", "a"),)).lacks(("zh",)) == ()
