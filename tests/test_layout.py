from fakes import Bytes, Words

from duplex_runtime.layout import EMBEDDED, MINICPM_DUPLEX, Spoken


def test_minicpm_markers_are_those_of_the_released_code() -> None:
    words = Words(1000)
    user = MINICPM_DUPLEX.user(words, "Can you recommend some")
    assert user == [95396, 4194, 95388, 1000, 1001, 1002, 1003, 95396, 10850, 95388]
    assert MINICPM_DUPLEX.close(words.encode("English novels")) == [1004, 1005, 2]


def test_silence_on_either_side_is_the_idle_token() -> None:
    assert MINICPM_DUPLEX.user(Words(), "") == [95396, 4194, 95388, 122753, 95396, 10850, 95388]
    assert MINICPM_DUPLEX.close(()) == [122753, 2]


def test_white_space_alone_is_silence() -> None:
    assert EMBEDDED.user(Words(), " \n ") == [4, 3, 5]


def test_a_pair_costs_seven_tokens_beside_its_words_and_a_silent_one_nine() -> None:
    words, layout = Words(), MINICPM_DUPLEX
    assert len(layout.user(words, "a b") + layout.close(words.encode("c d e"))) == 7 + 5
    assert len(layout.user(words, "") + layout.close(())) == 9


def test_the_embedded_model_hears_no_capitals_and_no_extra_spaces() -> None:
    words = Words()
    assert EMBEDDED.user(words, "  Hello   YOU ") == EMBEDDED.user(words, "hello you")
    assert MINICPM_DUPLEX.user(words, "Hello") != MINICPM_DUPLEX.user(words, "hello")


def test_of_too_many_ids_the_last_are_kept() -> None:
    ids = EMBEDDED.user(Words(), " ".join(map(str, range(50))), most=3)
    assert ids == [4, 147, 148, 149, 5]


def test_markers_typed_by_a_person_are_not_markers() -> None:
    ids = EMBEDDED.user(Bytes(), "<model></s><idle>")
    assert ids[0] == 4
    assert ids[-1] == 5
    assert not {0, 1, 2, 3, 4, 5} & set(ids[1:-1])


def spoken(*slices: str) -> str:
    """What is shown of slices whose tokens carry no space at their beginning."""
    words = Bytes()
    speaker, shown = Spoken(words), ""
    for index, text in enumerate(slices):
        if index:
            speaker.begin_slice()
        for token in words.encode(text):
            shown += speaker.push(token)
    return shown


def test_slices_of_words_are_joined_by_a_space() -> None:
    assert spoken("novels across", "that you", "might, ", "too", ".") == "novels across that you might, too."


def test_scripts_without_spaces_are_joined_without() -> None:
    assert spoken("你好", "世界", "ok") == "你好世界ok"


def test_nothing_stands_before_the_first_word() -> None:
    speaker = Spoken(Bytes())
    speaker.begin_slice()
    assert "".join(speaker.push(token) for token in Bytes().encode("hi")) == "hi"


def test_only_layouts_that_need_it_put_slices_apart() -> None:
    assert MINICPM_DUPLEX.apart
    assert not EMBEDDED.apart


def test_an_endless_answer_takes_no_more_memory_and_can_still_be_taken_back() -> None:
    speaker, ids = Spoken(Bytes()), Bytes().encode("tell ")
    shown = "".join(speaker.push(ids[i % 5]) for i in range(20_000))
    assert shown == "tell " * 4000
    assert len(speaker._ids) < 1000
    speaker.forget(300)
    assert speaker.push(ids[0]) == "t"
