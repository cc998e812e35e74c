"""Settings of the server: defaults live here, the environment is read here and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from duplex_runtime.errors import BadInput


@dataclass(frozen=True)
class Settings:
    """How a server runs. `data` is the folder of ratings and recordings.

    `engine`: what computes the model, see duplex_runtime/models/engines.py. `quantize`: `int8` or nothing.
    `baseline`: `strict` or `barge-in`, where the page does not choose.
    `ears`: how speech is recognised, one of speech/kit.py's EARS; `coqui`: a model of Coqui TTS to offer as a voice.
    `origins`: other sites whose pages may connect, such as `https://example.org`.
    `study`: folder of a study; then the server holds that and nothing else.
    """

    model: str = "embedded"
    engine: str = "torch"
    data: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = 7860
    turn_pause_seconds: float | None = None
    baseline: str = "strict"
    ears: str = "auto"
    coqui: str | None = None
    seed: int = 0
    slots: int = 64
    idle_threshold: float | None = None
    quantize: str | None = None
    origins: tuple[str, ...] = ()
    study: Path | None = None

    @staticmethod
    def from_environment() -> Settings:
        """Defaults, with DUPLEX_MODEL, DUPLEX_ENGINE, DUPLEX_DATA, DUPLEX_HOST, DUPLEX_ORIGINS (several with spaces
        between), DUPLEX_STUDY and PORT in their place where set; raises BadInput."""
        get = os.environ.get
        port = get("PORT", str(Settings.port))
        if not port.isdecimal():
            raise BadInput(f"PORT: expected a number in the environment, got {port!r}")
        return Settings(
            model=get("DUPLEX_MODEL", Settings.model),
            engine=get("DUPLEX_ENGINE", Settings.engine),
            data=Path(get("DUPLEX_DATA", str(Settings.data))),
            host=get("DUPLEX_HOST", Settings.host),
            port=int(port),
            origins=tuple(get("DUPLEX_ORIGINS", "").split()),
            study=Path(folder) if (folder := get("DUPLEX_STUDY")) else None,
        )
