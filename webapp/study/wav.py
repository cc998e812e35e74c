"""A participant's voice as WAV files, in which a second is a second of the session: silence fills what was not sent.

voice = VoiceFile(Path("recordings/ID.wav"), clock)
voice.write(pcm, 16_000)         # 16-bit samples, mono, little endian, that ended now
voice.close()

wav_of(pcm, 24_000)              # the same at once, as bytes

A file that was not closed says that it is as long as can be, and readers take what is there. When the rate changes a
new file begins, ID.2.wav.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from duplex_runtime.clock import Clock

#: Sound that comes so much later than the samples before it would have it is late for good: there was a pause.
PAUSE_SECONDS = 0.5
_HEADER = 44
_LONGEST = 2**32 - 1


class VoiceFile:
    """See the module. Raises OSError where the disk does not take it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._file: BinaryIO | None = None
        self._rate, self._samples, self._parts = 0, 0, 0

    def write(self, data: bytes, rate: int) -> None:
        """Append samples; the first make the file."""
        if self._file is None or rate != self._rate:
            self.close()
            self._file = self._open(rate)
        count = len(data) // 2
        begins = max(0, round(self._clock.now() * rate) - count)
        if begins - self._samples > PAUSE_SECONDS * rate:
            self._file.seek(_HEADER + 2 * begins)  # the system fills it with zeros
            self._samples = begins
        self._file.write(data)
        self._samples += count

    def close(self) -> None:
        """Write how long the file is."""
        file, self._file = self._file, None
        if file:
            with file:
                file.seek(0)
                file.write(_header(self._rate, 2 * self._samples))

    def _open(self, rate: int) -> BinaryIO:
        self._rate, self._samples, self._parts = rate, 0, self._parts + 1
        path = self._path if self._parts == 1 else self._path.with_suffix(f".{self._parts}.wav")
        file = path.open("wb")
        file.write(_header(rate, _LONGEST - _HEADER))
        return file


def wav_of(samples: bytes, rate: int) -> bytes:
    """16-bit samples as a file."""
    return _header(rate, len(samples)) + samples


def _header(rate: int, size: int) -> bytes:
    """The canonical header of 16-bit mono PCM (RIFF WAVE, 44 bytes); `size`: bytes of samples."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", size + _HEADER - 8, b"WAVE") + fmt + struct.pack("<4sI", b"data", size)
