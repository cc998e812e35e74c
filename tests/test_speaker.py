"""The speaker, with a voice whose words last 1000 samples a letter, and a page that plays on a simulated clock."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import Cut, Deaf, Delta, Event, ResponseCreated, ResponseDone, Yield
from duplex_runtime.speech.base import MOUTH_RATE, Chunk, Flush, Utterance
from duplex_runtime.speech.joints import PAUSES
from duplex_runtime.speech.speaker import Speaker

LETTER = 1000
SYSTEM, ID = "duplex", "duplex-1"


class Letters:
    """Every letter lasts 1000 samples, a space nothing."""

    name = "letters"

    def __init__(self) -> None:
        self.said: list[str] = []
        self.during: Callable[[], None] | None = None

    def say(self, text: str) -> Utterance:
        self.said.append(text)
        if self.during:
            during, self.during = self.during, None
            during()
        marks, at, position = [], 0, 0
        for word in text.split():
            position = text.index(word, position)
            marks.append((position, at))
            at += LETTER * sum(c.isalnum() for c in word)
            position += len(word)
        return Utterance(np.full(at, 0.5, np.float32), MOUTH_RATE, tuple(marks))


class Broken(Letters):
    def say(self, text: str) -> Utterance:
        super().say(text)
        raise DuplexError("voice_broken", "out of breath")


class Page:
    """Takes what the speaker hands out, plays it at once, and reports every 100 ms."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker, self.now = speaker, 0.0
        self.sound: dict[str, list[Chunk]] = {}
        self.flushes: list[Flush] = []
        self.played: dict[str, int] = {}
        self.reported: dict[str, int] = {}
        self.most_ahead = 0
        self.reports = True

    def length(self, response_id: str = ID) -> int:
        chunks = self.sound.get(response_id, [])
        return chunks[-1].start + len(chunks[-1].samples) if chunks else 0

    def take(self, *events: Event) -> None:
        for event in events:
            self.speaker.take(event, self.now)

    def write(self, text: str, response_id: str = ID) -> None:
        """As tokens: a word each."""
        for number, word in enumerate(text.split(" ")):
            self.take(delta(word if not number else f" {word}", response_id))

    def work(self) -> list[Chunk | Flush]:
        """All that is due now."""
        out: list[Chunk | Flush] = []
        for _ in range(100):
            due = self.speaker.next_due()
            if due is None or due > self.now + 1e-9:
                break
            for item in self.speaker.work(self.now):
                self._receive(item)
                out.append(item)
        else:
            raise AssertionError("work does not come to an end")
        return out

    def _receive(self, item: Chunk | Flush) -> None:
        if isinstance(item, Flush):
            kept = self.sound[item.response_id]
            assert item.samples <= self.length(item.response_id)
            assert item.samples >= self.reported.get(item.response_id, 0), "what was played cannot be taken back"
            played = self.played.get(item.response_id, 0)
            self.played[item.response_id] = min(played, item.samples)  # a little more may have been heard meanwhile
            while kept and kept[-1].start >= item.samples:
                kept.pop()
            if kept:
                last = kept[-1]
                samples = last.samples[: item.samples - last.start]
                kept[-1] = Chunk(last.response_id, last.start, samples, last.characters)
            self.flushes.append(item)
            return
        assert item.start == self.length(item.response_id), "chunks follow each other without a gap"
        assert item.samples.dtype == np.int16
        assert 0 < len(item.samples) <= 0.4 * MOUTH_RATE
        self.sound.setdefault(item.response_id, []).append(item)
        ahead = sum(self.length(i) - self.played.get(i, 0) for i in self.sound)
        self.most_ahead = max(self.most_ahead, ahead)

    def run(self, seconds: float, step: float = 0.02) -> None:
        """Time passes."""
        for number in range(round(seconds / step)):
            self.work()
            self.now += step
            free = round(step * MOUTH_RATE)
            for response_id in self.sound:
                before = self.played.get(response_id, 0)
                self.played[response_id] = min(self.length(response_id), before + free)
                free -= self.played[response_id] - before
            if self.reports and number % 5 == 4:
                self.reported = dict(self.played)
                for response_id, samples in self.played.items():
                    self.speaker.played(response_id, samples, self.now)
        self.work()


def delta(text: str, response_id: str = ID) -> Delta:
    return Delta(SYSTEM, response_id, 0, text, 0.0)


def created(response_id: str = ID) -> ResponseCreated:
    return ResponseCreated(SYSTEM, response_id, 0.0)


def done(status: str = "completed", response_id: str = ID) -> ResponseDone:
    return ResponseDone(SYSTEM, response_id, status, 0.0)


def cut(unheard: str) -> Cut:
    return Cut(SYSTEM, ID, 0, 0.0, unheard)


def samples_of(text: str) -> int:
    return LETTER * sum(c.isalnum() for c in text)


@pytest.fixture
def voice() -> Letters:
    return Letters()


@pytest.fixture
def page(voice: Letters) -> Page:
    return Page(Speaker(voice, SYSTEM))


# — when to speak —


def test_an_answer_begins_with_its_fourth_whole_word_not_with_its_sentence(page: Page, voice: Letters) -> None:
    page.take(created(), delta("Cats"), delta(" sleep"), delta(" most"), delta(" of"))
    assert page.work() == []
    page.take(delta(" the"))  # only now "of" is known to be whole
    first = page.work()[0]
    assert voice.said == ["Cats sleep most of,"]
    assert isinstance(first, Chunk)
    assert (first.start, first.characters) == (0, (0, 10))


def test_a_short_phrase_with_an_end_mark_is_spoken_at_once(page: Page, voice: Letters) -> None:
    page.take(created(), delta("Yes"), delta("."))
    page.work()
    assert voice.said == ["Yes."]


def test_fewer_words_wait_for_the_rest_of_the_slice_but_not_for_the_next(page: Page, voice: Letters) -> None:
    page.take(created(), delta("I"), delta(" see"), delta(" "))
    assert page.speaker.next_due() == pytest.approx(0.25)
    page.run(0.2)
    assert voice.said == []
    page.run(0.1)
    assert voice.said == ["I see,"]


def test_the_tail_of_a_slice_waits_until_the_sound_before_it_is_nearly_played(page: Page, voice: Letters) -> None:
    page.take(created())
    page.write("Long wordings begin here, and now something follows ")
    page.work()
    assert voice.said == ["Long wordings begin here, and now something follows,"]
    voice.said.clear()
    page.take(delta("that is rather unfinished "))
    queued = page.speaker.queued_seconds(page.now)
    assert queued > 1
    page.run(queued - 0.4)
    assert voice.said == []
    page.run(0.1)
    assert voice.said == ["that is rather unfinished,"]
    assert page.speaker.queued_seconds(page.now) > 0.2


def test_the_next_slice_comes_in_time_and_both_make_one_phrase(page: Page, voice: Letters) -> None:
    page.take(created())
    page.write("Somebody wrote this. A volcano is an opening ")
    page.work()
    page.run(0.3)
    page.write("where melted rock rises. ")
    page.work()
    assert voice.said == ["Somebody wrote this.", "A volcano is an opening where melted rock rises."]


def test_speech_does_not_stand_still_between_slices_that_come_in_time(page: Page) -> None:
    page.take(created())
    dry = 0
    for _ in range(6):
        page.write("volcanoes are very big things with plenty lava inside ")  # 44 letters: 1.8 s
        for _ in range(90):
            page.run(0.02)
            dry += page.played.get(ID, 0) == page.length()
    assert dry <= 2  # the first steps


def test_a_word_that_may_go_on_is_held_back(page: Page, voice: Letters) -> None:
    page.take(created())
    page.write("The planet is called Ear")
    page.work()
    assert voice.said == ["The planet is called,"]
    page.run(0.3)
    page.take(delta("th."))
    page.run(1)
    assert voice.said == ["The planet is called,", "Earth."]


def test_a_word_that_went_on_after_all_is_said_again_as_a_whole(page: Page, voice: Letters) -> None:
    page.take(created())
    page.write("The planet is called Ear")
    page.run(2)
    assert voice.said[-1] == "Ear,"
    page.take(delta("th now."), done())
    page.run(2)
    assert voice.said[-1] == "Earth now."
    assert [w.spoken for w in page.speaker.words(ID)][-2:] == ["Earth", "now."]


def test_a_number_or_an_address_is_not_cut(page: Page, voice: Letters) -> None:
    page.take(created())
    page.write("It is about 3.")
    page.work()
    page.write("5 metres. See https://example.org/")
    page.run(2)
    page.write("a. Bye.")
    page.take(done())
    page.run(3)
    assert voice.said == ["It is about 3.5 metres.", "See,", "example.org.", "Bye."]


# — chunks —


def test_chunks_are_small_and_together_the_sound_of_the_text(page: Page, voice: Letters) -> None:
    text = "Cats sleep. Most of the day they dream; nobody knows of what."
    page.take(created(), delta(text), done())
    page.run(6)
    total = samples_of(text) + round((PAUSES["."] + PAUSES[";"]) * MOUTH_RATE)
    assert page.length() == total
    assert page.speaker.finished() == [(ID, total)]
    assert page.speaker.finished() == []
    chunks = page.sound[ID]
    assert chunks[0].characters == (0, 10)
    spans = [c.characters for c in chunks if c.characters[0] < c.characters[1]]
    assert spans == sorted(spans)
    assert spans[-1][1] == len(text) - 1
    for word in page.speaker.words(ID):
        assert text[word.begin : word.end] == word.spoken.strip(".;")
        assert word.last - word.first == LETTER * (word.end - word.begin)


def test_sound_longer_than_400_ms_leaves_in_chunks_of_200_ms(page: Page) -> None:
    page.take(created(), delta("abcdefghij."), done())  # 10 000 samples
    assert [len(c.samples) for c in page.work() if isinstance(c, Chunk)] == [4800, 4800, 400]


def test_shorter_sound_leaves_in_one(page: Page) -> None:
    page.take(created(), delta("abcdefghi."), done())
    assert [len(c.samples) for c in page.work() if isinstance(c, Chunk)] == [9000]


@pytest.mark.parametrize("reports", [True, False])
def test_never_more_than_the_run_ahead_is_unplayed(voice: Letters, reports: bool) -> None:
    page = Page(Speaker(voice, SYSTEM, ahead_seconds=1.5, deadline_seconds=0.3))
    page.reports = reports
    page.take(created(), delta("Sentences follow each other here. " * 8), done())
    page.run(1)
    assert page.length() < 3 * MOUTH_RATE
    assert len(voice.said) <= 4  # nor is more made than is needed
    page.run(20)
    assert page.length() == page.played[ID]
    assert page.most_ahead <= 1.5 * MOUTH_RATE + 480  # played is counted in steps of 20 ms
    assert page.most_ahead > 1.2 * MOUTH_RATE


def test_a_page_that_does_not_play_gets_no_more_than_the_run_ahead(page: Page) -> None:
    page.take(created(), delta("Sentences follow each other here. " * 8), done())
    for _ in range(100):
        page.work()
        page.now += 0.1
        page.speaker.played(ID, 0, page.now)
    assert 2.5 * MOUTH_RATE < page.length() <= 3 * MOUTH_RATE
    assert page.speaker.queued_seconds(page.now) == pytest.approx(page.length() / MOUTH_RATE)


# — taken back —


def started(page: Page, text: str = "Cats sleep most of the day. Dogs do not.") -> None:
    page.take(created(), delta(text))
    page.work()


def test_words_that_come_again_need_no_flush_and_no_new_sound(page: Page, voice: Letters) -> None:
    started(page)
    said, length = list(voice.said), page.length()
    page.run(0.2)
    page.take(cut(" the day. Dogs do not."))
    page.run(0.1)
    page.take(delta(" the"), delta(" da"), delta("y. Dogs do"), delta(" not."))
    page.run(0.1)
    assert voice.said == said
    assert page.flushes == []
    assert page.length() == length
    page.take(done())
    page.run(4)
    assert page.speaker.heard(ID) == len("Cats sleep most of the day. Dogs do not.")


def test_nothing_that_was_taken_back_leaves_until_it_is_said_again(page: Page) -> None:
    text = "Cats sleep most of the day and the night and the morning and the afternoon and everything and the evening."
    started(page, text)
    sent = page.length()
    assert sent < samples_of(text)
    page.take(cut(" and the evening."))
    page.run(6)
    assert page.length() == samples_of(text.removesuffix(" and the evening."))
    page.take(delta(" and the evening."), done())
    page.run(2)
    assert page.length() == samples_of(text)
    assert page.flushes == []


def test_other_words_flush_where_the_kept_text_ends(page: Page, voice: Letters) -> None:
    started(page, "Cats sleep most of the day.")
    page.run(0.2)
    page.take(cut(" most of the day."))
    assert page.work() == []  # not yet
    page.take(delta(" a lot."))
    assert page.work()[0] == Flush(ID, samples_of("Cats sleep"))
    assert voice.said[-1] == "a lot."
    assert page.length() == samples_of("Cats sleep a lot")
    assert [w.spoken for w in page.speaker.words(ID)] == ["Cats", "sleep", "a", "lot."]


def test_a_beginning_that_agrees_is_kept(page: Page, voice: Letters) -> None:
    started(page, "Cats sleep most of the day.")
    page.take(cut(" sleep most of the day."), delta(" sleep most"), delta(" nights."))
    assert page.work()[0] == Flush(ID, samples_of("Cats sleep most"))
    assert voice.said[-1] == "nights."


def test_a_difference_inside_a_word_takes_the_whole_word_back(page: Page, voice: Letters) -> None:
    started(page, "It has openings everywhere.")
    page.take(cut(" openings everywhere."), delta(" open"), delta("ed early."))
    assert page.work()[0] == Flush(ID, samples_of("It has"))
    assert voice.said[-1] == "opened early."


def test_a_word_that_is_shorter_than_the_one_taken_back(page: Page, voice: Letters) -> None:
    started(page, "It has openings everywhere.")
    page.take(cut(" openings everywhere."), delta(" open"), delta(" doors."))
    assert page.work()[0] == Flush(ID, samples_of("It has"))
    assert voice.said[-1] == "open doors."


def test_a_flush_never_lies_before_what_was_played(page: Page, voice: Letters) -> None:
    started(page, "Cats sleep most of the day.")
    page.run(0.6)
    page.speaker.played(ID, page.played[ID], page.now)
    page.take(cut(" sleep most of the day."), delta(" eat."))
    assert samples_of("Cats") < page.played[ID] < page.length()
    assert page.work()[0] == Flush(ID, page.played[ID])
    assert page.length() == page.played[ID] + samples_of("eat")


@pytest.mark.parametrize("end", [Yield(SYSTEM, 0.0), done("cancelled"), done("completed")])
def test_the_end_of_an_answer_flushes_what_did_not_come_again(page: Page, end: Event) -> None:
    started(page)
    page.run(0.1)
    page.take(cut(" of the day. Dogs do not."), end)
    assert page.work() == [Flush(ID, samples_of("Cats sleep most"))]
    page.run(3)
    assert page.played[ID] == samples_of("Cats sleep most")
    assert page.speaker.heard(ID) == len("Cats sleep most")
    assert page.speaker.finished() == [(ID, samples_of("Cats sleep most"))]


def test_cancelled_between_two_chunks_it_ends_with_a_word(page: Page) -> None:
    started(page, "Several sentences about nothing whatsoever nobody remembers afterwards understanding everything.")
    page.run(0.1)
    page.take(Yield(SYSTEM, 0.0), done("cancelled"))
    flush = page.work()[0]
    assert isinstance(flush, Flush)
    assert flush.samples == page.speaker.words(ID)[-1].last
    page.run(5)
    assert page.length() == flush.samples


def test_text_that_was_taken_back_before_it_was_spoken_is_never_spoken(page: Page, voice: Letters) -> None:
    started(page, "Cats sleep. Dogs")
    page.take(cut(" Dogs"), delta(" Birds fly."), done())
    page.run(3)
    assert voice.said == ["Cats sleep.", "Birds fly."]
    assert page.flushes == []


def test_a_text_that_changes_while_the_voice_speaks_is_thrown_away(page: Page, voice: Letters) -> None:
    page.take(created(), delta("Cats sleep most of the day."))
    voice.during = lambda: page.take(cut(" most of the day."), delta(" a lot."))
    page.work()
    assert voice.said == ["Cats sleep most of the day.", "Cats sleep a lot."]
    assert page.length() == samples_of("Cats sleep a lot")
    assert page.flushes == []


def test_text_after_the_end_changes_nothing(page: Page, voice: Letters) -> None:
    started(page, "Cats sleep.")
    page.take(done("cancelled"), delta(" Dogs bark."), cut("sleep."), Yield(SYSTEM, 0.0))
    page.run(2)
    assert voice.said == ["Cats sleep."]


# — several answers —


def test_a_new_answer_follows_the_sound_of_the_one_before(page: Page) -> None:
    started(page, "Cats sleep most of the day.")
    page.take(done(), created("duplex-2"), delta("Yes.", "duplex-2"), done(response_id="duplex-2"))
    page.run(2)
    assert page.flushes == []
    assert page.length() == samples_of("Cats sleep most of the day")
    assert page.length("duplex-2") == samples_of("Yes")
    assert page.speaker.finished() == [(ID, page.length()), ("duplex-2", 3000)]


def test_a_new_answer_after_a_cancelled_one_flushes_the_old(page: Page) -> None:
    started(page)
    page.take(cut(" sleep most of the day. Dogs do not."), done("cancelled"), created("duplex-2"))
    page.take(delta("Yes.", "duplex-2"))
    page.run(1)
    assert page.flushes == [Flush(ID, samples_of("Cats"))]
    assert page.length("duplex-2") == samples_of("Yes")


# — what was heard —


def test_a_word_is_heard_when_its_sound_has_ended(page: Page) -> None:
    started(page, "Cats sleep. Dogs bark.")
    end = samples_of("Cats sleep")
    pause = round(PAUSES["."] * MOUTH_RATE)
    report = page.speaker.played
    assert report(ID, samples_of("Cats") - 1, 0.1) == 0
    assert report(ID, samples_of("Cats"), 0.2) == len("Cats")
    assert report(ID, end - 1, 0.3) == len("Cats")
    assert report(ID, end, 0.4) == len("Cats sleep.")
    assert report(ID, end + pause + samples_of("Dogs"), 0.5) == len("Cats sleep. Dogs")
    assert report(ID, samples_of("Cats"), 0.6) == len("Cats sleep. Dogs")  # a late report
    assert report("duplex-9", 10**6, 0.7) == len("Cats sleep. Dogs")  # a foreign one
    assert report(ID, 10**6, 0.8) == len("Cats sleep. Dogs bark.")


def test_reports_count_only_what_was_sent(page: Page) -> None:
    page.take(created(), delta("Cats sleep."))
    assert page.speaker.played(ID, 10**6, 0.0) == 0
    page.work()
    assert page.speaker.played(ID, 1, 0.1) == 0


def test_heard_characters_are_those_of_the_answer_not_of_what_was_spoken(page: Page) -> None:
    text = "**Sure!** 🙂 The sea 你好 is at 20°C & blue."
    page.take(created(), delta(text), done())
    page.run(5)
    words = page.speaker.words(ID)
    assert [w.spoken for w in words] == [
        *("Sure!", "The", "sea", "is", "at", "20", "degrees", "Celsius", "and", "blue.")
    ]
    for letters in ("Sure", "The", "sea", "is", "at", "20", "blue"):
        word = next(w for w in words if w.spoken.strip(".!") == letters)
        assert text[word.begin : word.end] == letters
    fresh = Page(Speaker(Letters(), SYSTEM))
    fresh.take(created(), delta(text), done())
    fresh.work()
    assert fresh.speaker.played(ID, samples_of("Sure"), 0.1) == len("**Sure!** 🙂")
    sea = words[2]
    assert fresh.speaker.played(ID, sea.last, 0.2) == len("**Sure!** 🙂 The sea 你好")
    assert page.speaker.heard(ID) == len(text)


def test_after_a_cut_no_more_counts_as_heard_than_is_left(page: Page) -> None:
    started(page, "Cats sleep most of the day.")
    assert page.speaker.played(ID, samples_of("Cats sleep most"), 0.5) == 15
    page.take(cut(" most of the day."))
    assert page.speaker.heard(ID) == 10
    page.take(delta(" most"))
    assert page.speaker.heard(ID) == 15


def test_an_answer_without_a_sound_is_over_at_once(page: Page, voice: Letters) -> None:
    page.take(created(), delta("🙂 ❤️"), done())
    page.run(1)
    assert voice.said == []
    assert page.speaker.finished() == [(ID, 0)]
    assert page.speaker.heard(ID) == len("🙂 ❤️")


# — what may go wrong —


def test_a_broken_voice_is_reported_once_and_never_blocks(voice: Letters) -> None:
    problems: list[str] = []
    page = Page(Speaker(Broken(), SYSTEM, on_problem=problems.append))
    page.take(created(), delta("Cats sleep. Dogs bark."), done())
    page.run(1)
    assert problems == ["the voice letters could not speak: out of breath"]
    assert page.speaker.problem == problems[0]
    assert page.sound == {}
    assert page.speaker.finished() == [(ID, 0)]
    assert page.speaker.heard(ID) == len("Cats sleep. Dogs bark.")
    assert page.speaker.next_due() is None


def test_what_does_not_concern_speech_is_ignored_and_other_systems_are_refused(page: Page) -> None:
    page.take(Deaf(SYSTEM, 0.0, "hello"))
    assert page.speaker.next_due() is None
    with pytest.raises(BadInput, match=r"expected events of 'duplex', got response\.created of 'turns'"):
        page.take(ResponseCreated("turns", "turns-1", 0.0))
    with pytest.raises(BadInput, match="deadline_seconds"):
        Speaker(Letters(), SYSTEM, ahead_seconds=0.2)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_words_that_sound_are_those_of_the_text(seed: int) -> None:
    rng = random.Random(seed)
    page = Page(Speaker(Letters(), SYSTEM))
    page.take(created())
    text, again = "", ""
    for _ in range(60):
        choice = rng.random()
        if choice < 0.6:
            piece = (
                again[: rng.randint(1, 6)]
                if again and rng.random() < 0.6
                else rng.choice(
                    [" cats", " sleep", ",", ".", "s", " 🙂", " 3", ".5", " e.g.", " volcanoes", "\n", " a"]
                )
            )
            again = again[len(piece) :] if again.startswith(piece) else ""
            text += piece
            page.take(delta(piece))
        elif choice < 0.7 and text:
            unheard = text[max(page.speaker.heard(ID), len(text) - rng.randint(1, 20)) :]
            text, again = text[: len(text) - len(unheard)], unheard + again
            page.take(cut(unheard))
        else:
            page.run(rng.choice([0.02, 0.1, 0.6]))
    page.take(done())
    page.run(60)
    assert page.speaker.next_due() is None
    letters = "".join(c for c in text if c.isalnum())
    assert "".join(c for w in page.speaker.words(ID) for c in text[w.begin : w.end] if c.isalnum()) == letters
    assert page.speaker.heard(ID) == len(text)
    assert page.speaker.finished() == [(ID, page.length())]
    ends = [w.last for w in page.speaker.words(ID)]
    assert ends == sorted(ends)
