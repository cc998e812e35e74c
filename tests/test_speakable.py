import pytest

from duplex_runtime.speech.speakable import breath, mark_at_end, speakable, whole


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Plain words, and nothing else.", "Plain words, and nothing else."),
        ("**Sure!** It *is* `code` and __strong__ ~~gone~~.", "Sure! It is code and strong gone."),
        ("See [the docs](https://example.org/x?y=z) now", "See the docs now"),
        ("See https://example.org/a/b?c=d. Then", "See example.org. Then"),
        ("at www.example.org, or", "at example.org, or"),
        ("![a cat](cat.png) sits", "a cat sits"),
        ("# Title\n\n- one\n- two\n\nEnd.", "Title. one. two. End."),
        ("1. Boil water.\n2. Wait.", "1. Boil water. 2. Wait."),
        ("> quoted\n---\nrest", "quoted. rest"),
        ("Try this:\n```python\nx = 1.5\n```\nDone.", "Try this: Done."),
        ("and ```never closed. Really", "and"),
        ("line <b>bold</b><br> end", "line bold end"),
        ("Great 🙂👍🏽 job 👩‍👩‍👧!", "Great job!"),
        ("20°C & 5 × 3 = 15, 50%", "20 degrees Celsius and 5 times 3 equals 15, 50 percent"),
        ("1914–1918 and 3 * 4", "1914 to 1918 and 3 times 4"),
        ("this — or that – or", "this, or that, or"),
        ("“quoted” and it’s ‘so’", "quoted and it's 'so'"),
        ("π is a letter", "pi is a letter"),
        ("Привет, hello 你好 there", ", hello there"),
        ("café naïve Zoë", "café naïve Zoë"),
        ("cafe\u0301", "cafe\u0301"),
        ("٣ apples", "3 apples"),
        ("a | b", "a, b"),
        ("", ""),
        ("  \n ", ""),
    ],
)
def test_what_is_spoken(text: str, spoken: str) -> None:
    assert speakable(text).text == spoken


@pytest.mark.parametrize(
    "text",
    [
        "**Sure!** 🙂 See [the docs](https://a.org/x), https://b.org/y and 20°C.",
        "# T\n- one 👩‍👩‍👧 two\n```\ncode\n```\nПривет π é cafe\u0301.",
        "1914–1918, 5*3, a & b",
    ],
)
def test_every_spoken_character_knows_where_it_came_from(text: str) -> None:
    said = speakable(text)
    assert len(said.sources) == len(said.text) + 1
    assert said.sources[-1] == len(text)
    assert list(said.sources) == sorted(said.sources)
    for character, source in zip(said.text, said.sources, strict=False):
        if character.isupper() or character in "🙂é":  # names of signs have none of these
            assert text[source] == character or text[source] in "°"
    words = [w for w in ("Sure", "docs", "one", "two") if w in said.text]
    for word in words:
        at = said.sources[said.text.index(word)]
        assert text[at : at + len(word)] == word


def test_what_has_no_sound_is_told() -> None:
    text = "Hi 🙂 你好 <b>you</b> ```x```"
    assert [text[a:b] for a, b in speakable(text).unspoken] == ["🙂", "你好", "<b>", "</b>", "```x```"]
    assert speakable("Hello, world").unspoken == ()


def test_a_voice_for_another_script_speaks_it() -> None:
    assert speakable("Привет 你好 you", {"CYRILLIC"}).text == "Привет"


@pytest.mark.parametrize(("text", "silent"), [("🙂", True), ("...", True), ("", True), ("a", False), ("7", False)])
def test_text_without_words_is_silent(text: str, silent: bool) -> None:
    assert speakable(text).silent is silent


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Cats sleep. They", "Cats sleep."),
        ("Cats sleep.", "Cats sleep."),
        ("Really?! Yes", "Really?!"),
        ('He said "so." Yes', 'He said "so."'),
        ("One: two", "One:"),
        ("one; two", "one;"),
        ("Hello, you there", ""),
        ("One two three four five, six", "One two three four five,"),
        ("One two three four, six", ""),
        ("It is 3.5 or 12,000 km", ""),
        ("It is 3.", ""),
        ("It is one two three 12,", ""),
        ("It is 3. Then", "It is 3."),
        ("e.g. Dr. Smith and J. S. Bach", ""),
        ("e.g. Dr. Smith came. Then", "e.g. Dr. Smith came."),
        ("1. Boil water. 2", "1. Boil water."),
        ("Go to https://a.org/x.html. Then", "Go to https://a.org/x.html."),
        ("Go to https://a.org.", ""),
        ("Go to https:", ""),
        ("See [a. b](x) now. So", "See [a. b](x) now."),
        ("See [a. b", ""),
        ("```\na. b. c", ""),
        ("a\nb", "a\n"),
        ("wait… what", "wait…"),
        (". Then more. And", ". Then more."),
        ("", ""),
    ],
)
def test_the_first_complete_phrase(text: str, phrase: str) -> None:
    assert text[: breath(text)] == phrase


def test_a_phrase_never_ends_inside_a_word_however_far_the_text_has_come() -> None:
    first = "Well, it was 3.5 km,"
    second = " e.g. from Dr. Smith's house (in 1998) to https://a.org/b.c?d,"
    text = f"{first}{second} which is 12,000 steps. Nobody went."
    for end in range(len(text) + 1):
        cut = breath(text[:end])
        assert cut == (len(first) if end >= len(first) else 0), text[:end]
    for end in range(len(first), len(text) + 1):
        rest = text[len(first) : end]
        behind = len(second) + 1  # an address has ended when white space follows
        assert breath(rest) == (len(second) if len(rest) >= behind else 0), rest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("in the Ear", "in the "),
        ("in the ", "in the "),
        ("word", ""),
        ("so it is!", "so it is!"),
        ("about 3.", "about "),
        ("look at https://a.org/", "look at "),
        ("look at [the do", "look at "),
        ("then ```x", "then "),
        ("```x", ""),
    ],
)
def test_whole_words_of_a_tail(text: str, words: str) -> None:
    assert text[: whole(text)] == words


@pytest.mark.parametrize(
    ("text", "mark"),
    [("So.", "."), ("so, ", ","), ("so", ""), ("“so?” ", "?"), ("so…", ","), ("Dr.", ""), ("", ""), ("**so!**", "!")],
)
def test_the_mark_at_the_end(text: str, mark: str) -> None:
    assert mark_at_end(text) == mark
