"""The voice that is always there: espeak-ng inside this process, without a download, a thousand times faster than life.

voice = Espeak()
voice.say("Hello there,")        # Utterance: float32 at 22050 Hz, one mark a word

espeak-ng (GPL-3) comes as a shared library with the package `espeakng-loader`, which is an extra. It keeps its state
in the process: there is one of it for all voices, and one lock around it.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.speech.base import Utterance

# From espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: sound goes to the callback, within the call
_DONT_EXIT = 0x8000
_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_LIST_TERMINATED, _WORD = 0, 1
_IPA = 0x02

#: Longest text of one call: a breath, not a book.
MAX_CHARACTERS = 5_000


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT: `text_position` counts characters from 1, `sample` counts samples since the beginning."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Library:
    """The one espeak-ng of this process. `speak` and `phonemes` take the lock themselves."""

    def __init__(self) -> None:
        try:
            import espeakng_loader

            library = ctypes.CDLL(espeakng_loader.get_library_path())
            data = espeakng_loader.get_data_path()
        except (ImportError, OSError) as error:
            raise DuplexError(
                "voice_missing",
                f"the voice espeak needs the package espeakng-loader: pip install espeakng-loader ({error})",
            ) from None
        self.rate: int = library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DONT_EXIT)
        if self.rate <= 0:
            raise DuplexError(
                "voice_missing", f"espeak-ng found no voice data in {data}: install espeakng-loader once more"
            )
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._lock = threading.Lock()
        self._library = library
        self._setting: tuple[Any, ...] = ()
        self._sound: list[np.ndarray] = []
        self._words: list[tuple[int, int]] = []
        self._callback = _Callback(self._take)  # must live as long as the library
        library.espeak_SetSynthCallback(self._callback)

    def _take(self, sound: Any, count: int, events: Any) -> int:
        """Called from inside espeak_Synth with a piece of sound and the events within it."""
        number = 0
        while events[number].type != _LIST_TERMINATED:
            if events[number].type == _WORD:
                self._words.append((events[number].text_position - 1, events[number].sample))
            number += 1
        if count > 0:
            self._sound.append(np.ctypeslib.as_array(sound, (count,)).copy())
        return 0

    def _set(self, language: str, words_per_minute: int, pitch: int, pitch_range: int, volume: int) -> None:
        setting = (language, words_per_minute, pitch, pitch_range, volume)
        if setting == self._setting:
            return
        if self._library.espeak_SetVoiceByName(language.encode()) != 0:
            raise BadInput(f"expected a voice of espeak-ng such as 'en-us' or 'en-us+f3', got {language!r}")
        parameters = {_RATE: words_per_minute, _PITCH: pitch, _RANGE: pitch_range, _VOLUME: volume}
        for parameter, value in parameters.items():
            self._library.espeak_SetParameter(parameter, value, 0)
        self._setting = setting

    def speak(self, text: str, setting: tuple[str, int, int, int, int]) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Sound (int16[n] at `rate`) and word events (character, sample)."""
        encoded = text.encode() + b"\0"
        with self._lock:
            self._set(*setting)
            self._sound, self._words = [], []
            failed = self._library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
            sound, words = self._sound, self._words
        if failed:
            raise DuplexError("voice_broken", f"espeak-ng could not speak {text[:40]!r} (error {failed})")
        return np.concatenate(sound) if sound else np.zeros(0, np.int16), words

    def phonemes(self, text: str, language: str, separator: str) -> list[str]:
        """The sounds of a text in IPA, one string a clause, as `espeak-ng --ipa` prints them."""
        with self._lock:
            self._set(language, *self._setting[1:]) if self._setting else self._set(language, 175, 50, 50, 100)
            buffer = ctypes.c_char_p(text.encode())
            pointer = ctypes.pointer(buffer)
            clauses = []
            while buffer.value is not None:  # each call takes one clause and moves the pointer; null at the end
                clause = self._library.espeak_TextToPhonemes(pointer, _UTF8, _IPA | ord(separator or "\0") << 8)
                if clause:
                    clauses.append(clause.decode())
        return clauses


@cache
def library() -> _Library:
    """espeak-ng, loaded at the first call; raises DuplexError("voice_missing", …) where it is not installed."""
    return _Library()


class Espeak:
    """A voice that needs nothing but a 20 MB package. A text takes about a thousandth of the time it lasts.

    language: a voice of espeak-ng, with a variant behind the plus sign. words_per_minute: 80 to 450.
    pitch, pitch_range: 0 to 99.
    """

    #: Marks are where the words really begin: a joint may be cut there.
    exact_marks = True
    #: A text spoken twice has the same melody and level, to within a few samples of time.
    repeats_itself = True

    def __init__(
        self, language: str = "en-us+f3", words_per_minute: int = 165, pitch: int = 48, pitch_range: int = 60
    ) -> None:
        if not 80 <= words_per_minute <= 450:
            raise BadInput(f"words_per_minute: expected 80 to 450, got {words_per_minute}")
        if not (0 <= pitch <= 99 and 0 <= pitch_range <= 99):
            raise BadInput(f"pitch and pitch_range: expected 0 to 99, got {pitch} and {pitch_range}")
        self.name = f"espeak ({language})"
        self._setting = (language, words_per_minute, pitch, pitch_range, 100)
        self._library = library()
        self._library.speak("", self._setting)  # an unknown voice is refused now and not in the talk

    def say(self, text: str) -> Utterance:
        """`text` as one breath; a comma at the end keeps the voice up. Raises DuplexError, BadInput if it is too long.

        The sound of text without letters or digits is empty.
        """
        if len(text) > MAX_CHARACTERS:
            raise BadInput(f"expected at most {MAX_CHARACTERS} characters to be spoken at once, got {len(text)}")
        text = text.replace("\0", " ")
        sound, events = self._library.speak(text, self._setting)
        samples = sound.astype(np.float32) / 32768
        return Utterance(samples, self._library.rate, marks_of_words(text, events, len(samples)))


def marks_of_words(text: str, events: Iterable[tuple[int, int]], num_samples: int) -> tuple[tuple[int, int], ...]:
    """Events where a word of `text` (what stands between white space) begins; each word once, in order.

    espeak tells several events for a number ("1998" is three words to it), and none for some words; such a word
    begins where the one before it does not go on, or is left without a mark.
    """
    begins, begin = [], 0  # for each character, where its word begins; for white space, the next one
    for position, letter in enumerate(text):
        begins.append(position + 1 if letter.isspace() else begin)
        if letter.isspace():
            begin = position + 1
    marks: list[tuple[int, int]] = []
    for position, sample in events:
        if not 0 <= position < len(text) or sample > num_samples:
            continue
        character = begins[position]
        if not marks or (character > marks[-1][0] and sample >= marks[-1][1]):
            marks.append((character, sample))
    return tuple(marks)
