"""Loads a model folder or hub id into an engine, with the layout and vocabulary that belong to it.

model = load_model("embedded")          # the two checkpoints that ship with the package
conversation = model.duplex(Slicing())
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.baseline import TurnConversation
from duplex_runtime.duplex import DuplexConversation, Memory
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import ModelError
from duplex_runtime.layout import EMBEDDED, MINICPM_DUPLEX, Layout, Vocabulary
from duplex_runtime.slices import Slicing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from duplex_runtime.engine.engine import SlotEngine

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"


class HubTokenizer:
    """A tokenizer of the transformers library behind the `Vocabulary` protocol."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self._tokenizer)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` without special tokens."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)


@dataclass
class LoadedModel:
    """A model in memory, ready to hold conversations of one system."""

    name: str
    network: PreTrainedModel
    layout: Layout
    vocabulary: Vocabulary
    memory: Memory
    wait_for_end_mark: bool

    @property
    def parameters(self) -> int:
        """How many numbers it has learned; a tied head counts once."""
        return sum(p.numel() for p in self.network.parameters())

    def engine(self, slots: int = 64) -> SlotEngine:
        """A new engine over the weights."""
        from duplex_runtime.engine.engine import SlotEngine
        from duplex_runtime.engine.fused import FusedNetwork, fusible
        from duplex_runtime.engine.plain import PlainNetwork

        # a large model's time is its arithmetic: there the hand-written pass would only double the weights
        small = self.parameters < 300e6 and fusible(self.network)
        make = FusedNetwork if small else PlainNetwork
        return SlotEngine(make(self.network, slots, 2 * self.memory.limit), self.layout.idle, self.layout.eos)

    def conversation(
        self, system: str, slicing: Slicing, pause_seconds: float | None = None
    ) -> DuplexConversation | TurnConversation:
        """A new conversation of `system` (`duplex` or `turns`)."""
        if system == "turns":
            return TurnConversation(self.layout, self.vocabulary, slicing, self.memory, pause_seconds=pause_seconds)
        return DuplexConversation(
            self.layout, self.vocabulary, slicing, self.memory, wait_for_end_mark=self.wait_for_end_mark
        )


def default_sampling(name: str, seed: int) -> Sampling:
    """Greedy for the embedded model; for others the paper's temperature 0.8 and top-p 0.8."""
    return Sampling(seed=seed) if name == "embedded" else Sampling(temperature=0.8, top_p=0.8, seed=seed)


def load_model(name: str = "embedded", system: str = "duplex") -> LoadedModel:
    """Load `embedded`, a folder, or a hub id. Raises ModelError, saying what was expected."""
    if name == "embedded":
        return _load(EMBEDDED_FOLDER / system, "embedded", EMBEDDED_FOLDER / "tokenizer.json")
    try:
        folder = Path(name).expanduser()
    except RuntimeError as error:
        raise ModelError(f"no model folder {name!r}: {error}") from None
    if folder.is_dir():
        # a folder made by `duplex train` holds both systems side by side
        inner = folder / system if (folder / system / "config.json").is_file() else folder
        ours = (inner / "about.json").is_file()
        return _load(inner, name, folder / "tokenizer.json" if ours else None)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"no model folder {name!r}: expected 'embedded', a folder with config.json, or a hub id OWNER/NAME"
        )
    return _load_hub(name)


def _load(folder: Path, name: str, tokenizer: Path | None) -> LoadedModel:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    from duplex_runtime.models.vocabulary import TokenizerFile

    disable_progress_bar()

    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder}: expected a model folder with config.json, model.safetensors and a tokenizer")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder}: expected weights in *.safetensors; other formats are not loaded")
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        network = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # files from outside: every fault of theirs becomes one message
        raise ModelError(f"{folder}: the model's files do not load ({type(error).__name__}: {error})") from None
    if not isinstance(values, dict):
        raise ModelError(f"{config}: expected a JSON object")
    if tokenizer is None:
        return _hub_parts(name, network, folder)
    vocabulary = TokenizerFile(tokenizer)
    if len(vocabulary) != network.config.vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer has {len(vocabulary)} tokens, the model {network.config.vocab_size}; "
            "they do not belong together"
        )
    return LoadedModel(name, network, EMBEDDED, vocabulary, Memory(), wait_for_end_mark=True)


def _load_hub(name: str) -> LoadedModel:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        network = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16, trust_remote_code=False)
    except Exception as error:
        raise ModelError(f"{name}: could not be loaded from the hub ({type(error).__name__}: {error})") from None
    return _hub_parts(name, network, name)


def _hub_parts(name: str, network: PreTrainedModel, source: Path | str) -> LoadedModel:
    from transformers import AutoTokenizer

    if network.config.vocab_size <= MINICPM_DUPLEX.idle:
        raise ModelError(
            f"{name}: its vocabulary of {network.config.vocab_size} has no <idle> token (id {MINICPM_DUPLEX.idle}); "
            "expected MiniCPM-duplex in Granite form, or a folder made by `duplex train`"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        raise ModelError(f"{name}: its tokenizer does not load ({type(error).__name__}: {error})") from None
    memory = Memory(limit=2048, keep=1024)
    return LoadedModel(name, network, MINICPM_DUPLEX, HubTokenizer(tokenizer), memory, wait_for_end_mark=False)
