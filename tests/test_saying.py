from duplex_runtime.saying import Saying, follow_playback, inside_word


def saying(begins: int = 0, *texts: str, at: float = 1.0) -> Saying:
    made = Saying("duplex-1", 0, begins)
    for i, text in enumerate(texts):
        made.add(i, text, at + i)
    return made


def test_what_is_shown_later_was_not_heard_yet() -> None:
    bees = saying(0, "Bees", " are", " insects")
    assert [bees.heard(at) for at in (0.9, 1.0, 2.5, 9.0)] == [0, 1, 2, 3]


def test_half_a_word_is_not_heard() -> None:
    bees = saying(0, "Bees", " are", " ins", "ects")
    assert [bees.whole_words(at) for at in (1.0, 2.0, 3.0, 4.0)] == [1, 2, 2, 4]


def test_a_script_without_spaces_may_be_cut_anywhere() -> None:
    assert inside_word("ins", "ects")
    assert not inside_word("是", "的")
    assert not inside_word("a", " b")


def test_a_cut_tells_what_was_not_heard() -> None:
    bees = saying(0, "Bees", " are", " insects")
    bees.finished = True
    assert bees.cut(1) == " are insects"
    assert (bees.text, bees.tokens, bees.shown_at, bees.finished) == ("Bees", [0], [1.0], False)


def test_what_is_still_to_be_heard_moves_with_the_sound() -> None:
    first, second = saying(0, "Bees", " are"), saying(8, " small", " animals", at=3.0)
    assert follow_playback([first, second], 4, 5.0, 0.125) == 7.25
    assert first.shown_at == [1.0, 5.5]
    assert second.shown_at == [6.25, 7.25]


def test_what_was_heard_before_its_time_is_heard_now() -> None:
    bees = saying(10, "Bees", " are", at=7.0)
    assert follow_playback([bees], 14, 5.0, 0.125) == 5.5
    assert bees.shown_at == [5.0, 5.5]
    assert bees.heard(5.0) == 1


def test_once_all_was_heard_it_is_over_at_once() -> None:
    bees = saying(0, "Bees", " are", at=7.0)
    assert follow_playback([bees], 8, 5.0, 0.5) == 5.0
    assert bees.heard(5.0) == 2
