"""Settings of the server: defaults live here, the environment is read here and nowhere else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from duplex_runtime.errors import BadInput
from webapp.crowd import Crowd
from webapp.folders import data_folder
from webapp.logs import STYLES

#: Whoever may show the page in a frame; on a Space that is the Space's own page.
FRAME_ANCESTORS = ("'self'",)
SPACE_ANCESTORS = ("'self'", "https://huggingface.co", "https://*.hf.space")


@dataclass(frozen=True)
class Settings:
    """How a server runs. `data` is the folder of ratings and recordings.

    `engine`: what computes the model, see duplex_runtime/models/engines.py. `quantize`: `int8` or nothing.
    `baseline`: `strict` or `barge-in`, where the page does not choose.
    `ears`: how speech is recognised, one of speech/kit.py's EARS; `coqui`: a model of Coqui TTS to offer as a voice.
    `origins`: other sites whose pages may connect, such as `https://example.org`.
    `root_path`: the path below which a proxy shows the server, such as `/arena`; the proxy takes it off.
    `on_space`: this is a Space of Hugging Face.
    `frame_ancestors`: whose pages may show ours in a frame, sources of Content-Security-Policy.
    `crowd`: how many people are let in, and for how long; DUPLEX_PLACES and its like, see there.
    `log`: `text` or `json`. `metrics_token`: who knows it may read /metrics; without one everybody may.
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
    slots: int = 128
    idle_threshold: float | None = None
    quantize: str | None = None
    origins: tuple[str, ...] = ()
    root_path: str = ""
    on_space: bool = False
    frame_ancestors: tuple[str, ...] = FRAME_ANCESTORS
    crowd: Crowd = field(default_factory=Crowd)
    log: str = "text"
    metrics_token: str | None = field(default=None, repr=False)
    study: Path | None = None

    @staticmethod
    def from_environment() -> Settings:
        """Defaults, with DUPLEX_MODEL, DUPLEX_ENGINE, DUPLEX_DATA, DUPLEX_HOST, DUPLEX_ORIGINS (several with spaces
        between), DUPLEX_FRAME_ANCESTORS (the same; on a Space huggingface.co may show it), DUPLEX_LOG,
        DUPLEX_METRICS_TOKEN, DUPLEX_ROOT_PATH, DUPLEX_STUDY and PORT in their place where set; raises BadInput.

        A Space sets SPACE_ID and SPACE_HOST: its own page may connect, and data go to its storage if it has any."""
        get = os.environ.get
        port = get("PORT", str(Settings.port))
        if not port.isdecimal():
            raise BadInput(f"PORT: expected a number in the environment, got {port!r}")
        if (log := get("DUPLEX_LOG", Settings.log)) not in STYLES:
            raise BadInput(f"DUPLEX_LOG: expected {' or '.join(STYLES)} in the environment, got {log[:40]!r}")
        ancestors = tuple(get("DUPLEX_FRAME_ANCESTORS", "").split())
        return Settings(
            model=get("DUPLEX_MODEL", Settings.model),
            engine=get("DUPLEX_ENGINE", Settings.engine),
            data=data_folder(os.environ),
            host=get("DUPLEX_HOST", Settings.host),
            port=int(port),
            origins=(
                *get("DUPLEX_ORIGINS", "").split(),
                *(f"https://{h}" for h in get("SPACE_HOST", "").split(",") if h),
            ),
            root_path=root_path_of("DUPLEX_ROOT_PATH", get("DUPLEX_ROOT_PATH", "")),
            on_space="SPACE_ID" in os.environ,
            frame_ancestors=ancestors or (SPACE_ANCESTORS if get("SPACE_ID") else FRAME_ANCESTORS),
            crowd=Crowd.of(os.environ),
            log=log,
            metrics_token=get("DUPLEX_METRICS_TOKEN") or None,
            study=Path(folder) if (folder := get("DUPLEX_STUDY")) else None,
        )


def root_path_of(name: str, text: str) -> str:
    """A path below which a proxy shows the server, without / at its end; raises BadInput. `name`: what set it."""
    if text and not re.fullmatch(r"(/[\w.~-]+)*/?", text):
        raise BadInput(f"{name}: expected a path such as /arena, got {text[:60]!r}")
    return text.rstrip("/")
