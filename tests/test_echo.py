"""The mouth's own words are no words of the person."""

from duplex_runtime.speech.base import Word
from duplex_runtime.speech.echo import Echo, Likeness

SENTENCE = "Volcanoes are openings where melted rock rises."


def echo(likeness: Likeness | None = None, at: float = 10.0) -> Echo:
    made = Echo(likeness or Likeness())
    made.said(SENTENCE, at, at + 3.5)
    return made


def words(text: str, at: float, pace: float = 0.4) -> list[Word]:
    return [Word(w, at + i * pace, at + (i + 0.9) * pace, at + (i + 1.5) * pace) for i, w in enumerate(text.split())]


def kept(made: Echo, text: str, at: float) -> str:
    return " ".join(word.text for word in made.sift(words(text, at)))


def test_what_the_mouth_says_is_dropped() -> None:
    assert kept(echo(), "volcanoes are openings", 10.2) == ""


def test_nearly_the_same_words_are_dropped() -> None:
    assert kept(echo(), "volcano are opening wear melted rock", 10.2) == "wear"


def test_a_barge_in_is_kept() -> None:
    assert kept(echo(), "stop", 11.0) == "stop"
    assert kept(echo(), "volcanoes are stop openings", 10.2) == "stop openings"
    assert kept(echo(), "what about cats", 10.5) == "what about cats"


def test_one_word_in_common_is_the_persons() -> None:
    assert kept(echo(), "how are you", 10.4) == "how are you"


def test_one_word_alone_is_an_echo_unless_it_stops_the_mouth() -> None:
    assert kept(echo(), "openings", 11.0) == ""
    made = Echo()
    made.said("no wait", 1.0, 2.0)
    assert kept(made, "wait", 1.5) == "wait"


def test_words_that_come_one_at_a_time_are_seen_together() -> None:
    made = echo()
    assert [made.sift([word]) for word in words("volcanoes are openings", 10.2)] == [(), (), ()]
    made = echo()
    told = [" ".join(w.text for w in made.sift([word])) for word in words("how are you", 10.2)]
    assert told == ["how", "are", "you"]


def test_the_same_words_much_later_are_the_persons() -> None:
    assert kept(echo(), "volcanoes are openings", 17.0) == "volcanoes are openings"
    assert kept(echo(), "volcanoes are openings", 12.5) == ""


def test_the_same_words_before_the_mouth_are_the_persons() -> None:
    assert kept(echo(), "volcanoes are openings", 9.0) == "volcanoes are openings"


def test_what_was_flushed_is_not_said() -> None:
    made = echo()
    made.flushed(11.0)
    assert kept(made, "melted rock rises", 12.2) == "melted rock rises"
    assert kept(echo(), "melted rock rises", 12.2) == ""


def test_in_the_first_seconds_one_word_is_enough() -> None:
    guarded = Likeness(guard_seconds=2.0)
    assert kept(echo(guarded), "um volcanoes", 10.2) == "um"
    later = echo(guarded, at=0.0)
    later.said(SENTENCE, 10.0, 13.5)
    assert kept(later, "um volcanoes", 10.2) == "um volcanoes"


def test_a_silent_mouth_has_no_echo() -> None:
    assert kept(Echo(), "volcanoes are openings", 1.0) == "volcanoes are openings"
    made = Echo()
    made.said("...", 0.0, 1.0)
    assert kept(made, "volcanoes", 0.5) == "volcanoes"
    assert made.sift([]) == ()


def test_what_was_said_long_ago_is_forgotten() -> None:
    made = Echo()
    for second in range(200):
        made.said("one two three", float(second), second + 1.0)
        made.sift(words("hello", second + 0.5))
    assert len(made._own) < 30
