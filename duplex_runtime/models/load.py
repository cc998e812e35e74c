"""Loads a model folder or hub id into an engine, with the layout and vocabulary that belong to it.

model = load_model("embedded")          # the two checkpoints that ship with the package
conversation = model.conversation("duplex", Slicing())

Told apart by what their files say: folders of `duplex train` by about.json, the released MiniCPM-duplex by its
config.json (it is converted on first use), its Granite form by its template and tokens. Every other chat model
gets its markers from its own chat template, and is marked as not aligned.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.baseline import TurnConversation
from duplex_runtime.duplex import DuplexConversation, Memory
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import BadInput, ModelError
from duplex_runtime.events import SYSTEMS
from duplex_runtime.layout import EMBEDDED, Layout, Vocabulary
from duplex_runtime.slices import Slicing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from duplex_runtime.engine.requests import Engine

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"


class HubTokenizer:
    """A tokenizer of the transformers library behind the `Vocabulary` protocol.

    controls: texts that would steer the model, such as its markers: in what people type they get a space inside,
    so that they are words like any others.
    """

    def __init__(self, tokenizer: Any, controls: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        longest_first = sorted({c for c in controls if len(c) > 1}, key=lambda c: (-len(c), c))
        self._controls = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __len__(self) -> int:
        return len(self._tokenizer)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` without special tokens."""
        if self._controls:
            text = self._controls.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)


@dataclass
class LoadedModel:
    """A model in memory, ready to hold conversations of one system.

    aligned: it was trained to be silent while somebody speaks. serves_both: there is no other checkpoint for the
    other system, this one holds the conversations of both. folder: where its files are, None in the hub's cache.
    wakes: it was trained to say something after a long silence if it was asked to.
    where: what computes it (models/engines.py); if not torch, a large network has no weights (device `meta`).
    """

    name: str
    network: PreTrainedModel
    layout: Layout
    vocabulary: Vocabulary
    memory: Memory
    wait_for_end_mark: bool
    aligned: bool = True
    serves_both: bool = False
    folder: Path | None = None
    wakes: bool = False
    where: str = "torch"

    @property
    def parameters(self) -> int:
        """How many numbers it has learned; a tied head counts once."""
        return sum(p.numel() for p in self.network.parameters())

    def engine(self, slots: int = 64) -> Engine:
        """A new engine."""
        from duplex_runtime.models.engines import make_engine

        return make_engine(self, slots)

    def conversation(
        self, system: str, slicing: Slicing, pause_seconds: float | None = None, barge_in: bool = False
    ) -> DuplexConversation | TurnConversation:
        """A new conversation of `system` (`duplex` or `turns`); the last two are of `TurnConversation`."""
        if system == "turns":
            return TurnConversation(
                self.layout, self.vocabulary, slicing, self.memory, pause_seconds=pause_seconds, barge_in=barge_in
            )
        return DuplexConversation(
            self.layout,
            self.vocabulary,
            slicing,
            self.memory,
            wait_for_end_mark=self.wait_for_end_mark,
            wakes=self.wakes,
        )


@dataclass(frozen=True)
class Choice:
    """Which model, and what computes it: the arguments of `load_model`."""

    name: str = "embedded"
    quantize: str | None = None
    where: str = "torch"

    def load(self, system: str) -> LoadedModel:
        """The model for one system."""
        return load_model(self.name, system, self.quantize, self.where)


def default_sampling(name: str, seed: int, idle_threshold: float | None = None) -> Sampling:
    """Greedy for the embedded model; for others the paper's temperature 0.8 and top-p 0.8.

    idle_threshold: from which p(idle) on the model is silent, if not as usual; raises BadInput.
    """
    if idle_threshold is None:
        idle_threshold = Sampling.idle_threshold
    if not 0 < idle_threshold <= 1:
        raise BadInput(f"idle threshold: expected a number over 0 and up to 1, got {idle_threshold}")
    greedy = name == "embedded"
    return Sampling(0.0 if greedy else 0.8, 1.0 if greedy else 0.8, idle_threshold, seed=seed)


def load_systems(name: str, load: Callable[..., LoadedModel] | None = None, **options: Any) -> dict[str, LoadedModel]:
    """Both systems of a model; the weights of a checkpoint that serves both are in memory once.

    options: as for `load_model`. Servers elsewhere hold one checkpoint: where each system has its own, they compute
    the duplex one and the other is computed here.
    """
    load = partial(load or load_model, **options)
    duplex = load(name, "duplex")
    others = [system for system in SYSTEMS if system != "duplex"]
    if not duplex.serves_both:
        if duplex.where.startswith("http"):
            load = partial(load, where="torch")
        return {"duplex": duplex} | {system: load(name, system) for system in others}
    return {"duplex": duplex} | {system: replace(duplex, network=_twin(duplex.network)) for system in others}


def _twin(network: PreTrainedModel) -> PreTrainedModel:
    """The same weights in modules and a config of their own: an engine sets its attention there during a pass, and
    another thread's engine must not see it."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared)


def load_model(
    name: str = "embedded", system: str = "duplex", quantize: str | None = None, where: str = "torch"
) -> LoadedModel:
    """Load `embedded`, a folder, or a hub id. Raises ModelError, saying what was expected.

    quantize: `int8` keeps the weights of a large model on the processor in 8 bits. where: what shall compute it, see
    models/engines.py; other engines than torch read a large model's weights themselves.
    """
    model = _load(name, system, quantize, where == "torch")
    model.where = where
    return model


def _load(name: str, system: str, quantize: str | None, weights: bool) -> LoadedModel:
    if quantize not in (None, "int8"):
        raise ModelError(f"expected int8 or nothing for quantize, got {quantize!r}; for 4 bits use a GGUF file")
    if name == "embedded":
        return _load_ours(EMBEDDED_FOLDER / system, "embedded", EMBEDDED_FOLDER / "tokenizer.json", False)
    try:
        folder = Path(name).expanduser()
    except RuntimeError as error:
        raise ModelError(f"no model folder {name!r}: {error}") from None
    if not folder.is_dir() and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise ModelError(
            f"no model folder {name!r}: expected 'embedded', a folder with config.json, or a hub id OWNER/NAME"
        )
    # a folder made by `duplex train` holds both systems side by side
    inner = folder / system if (folder / system / "config.json").is_file() else folder
    if (inner / "about.json").is_file():
        return _load_ours(inner, name, folder / "tokenizer.json", inner == folder)
    from duplex_runtime.models import minicpm

    if made := minicpm.prepared(str(inner) if folder.is_dir() else name):
        inner = made
    if not made and not folder.is_dir():
        return _load_chat(name, name, quantize, weights)
    _require_weights(inner)
    minicpm.verify(inner)
    return _load_chat(inner, name, quantize, weights)


def _require_weights(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: expected a model folder with config.json, model.safetensors and a tokenizer")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder}: expected weights in *.safetensors; other formats are not loaded")


def _load_ours(folder: Path, name: str, tokenizer: Path, serves_both: bool) -> LoadedModel:
    """A checkpoint of `duplex train`: small, so it stays on the processor and in float32 everywhere."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    from duplex_runtime.models.vocabulary import TokenizerFile

    disable_progress_bar()
    _require_weights(folder)
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        network = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # files from outside: every fault of theirs becomes one message
        raise ModelError(f"{folder}: the model's files do not load ({type(error).__name__}: {error})") from None
    if not isinstance(values, dict):
        raise ModelError(f"{folder / 'config.json'}: expected a JSON object")
    vocabulary = TokenizerFile(tokenizer)
    if len(vocabulary) != network.config.vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer has {len(vocabulary)} tokens, the model {network.config.vocab_size}; "
            "they do not belong together"
        )
    return LoadedModel(
        name, network, EMBEDDED, vocabulary, Memory(), True, serves_both=serves_both, folder=folder, wakes=True
    )


def _load_chat(source: Path | str, name: str, quantize: str | None, weights: bool) -> LoadedModel:
    """MiniCPM-duplex in Granite form, or any other chat model."""
    from transformers import AutoConfig, AutoTokenizer

    from duplex_runtime.models import minicpm
    from duplex_runtime.models.template import layout_from_template

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # files from outside, or no network: every fault becomes one message
        raise ModelError(f"{name}: its config or tokenizer does not load ({type(error).__name__}: {error})") from None
    rows = config.get_text_config().vocab_size
    aligned = minicpm.speaks_duplex(tokenizer)
    try:  # before the weights: they may be many gigabytes
        if aligned:
            layout = minicpm.layout_of(HubTokenizer(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id)
        else:
            layout = layout_from_template(tokenizer, rows, _ends(source, config))
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None
    highest = max(layout.bos, layout.eos, layout.idle, *layout.user_marker, *layout.model_marker, len(tokenizer) - 1)
    if highest >= rows:
        raise ModelError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens, the model {rows}; they do not belong together"
        )
    trained = _conversation_json(source)
    aligned = trained.get("aligned", aligned)
    network = _placed(source, name, config, quantize, weights)
    markers = (tokenizer.decode(list(ids)).strip() for ids in (layout.user_marker, layout.model_marker))
    named = tokenizer.convert_ids_to_tokens([layout.bos, layout.eos, layout.idle])
    special = (t.content for t in tokenizer.added_tokens_decoder.values() if t.special)  # also those without a name
    controls = [*tokenizer.all_special_tokens, *special, *markers, *(text for text in named if text)]
    most = min(2048, getattr(config.get_text_config(), "max_position_embeddings", None) or 2048)
    return LoadedModel(
        name,
        network,
        layout,
        HubTokenizer(tokenizer, controls),
        Memory(limit=most, keep=most // 2),
        # the released model decides by itself; one that never learned silence needs the rule
        wait_for_end_mark=trained.get("wait_for_end_mark", not aligned),
        aligned=aligned,
        serves_both=True,
        folder=source if isinstance(source, Path) else None,
        wakes=trained.get("wakes", False),
    )


def _conversation_json(source: Path | str) -> dict[str, bool]:
    """What `duplex train` wrote about a model that it aligned: how its conversations shall be held."""
    file = Path(source) / "conversation.json"
    if not file.is_file():
        return {}
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file}: expected a JSON object ({error})") from None
    known = ("aligned", "wait_for_end_mark", "wakes")
    if not isinstance(values, dict) or any(not isinstance(values.get(key, False), bool) for key in known):
        raise ModelError(f"{file}: expected {', '.join(known)} to be true or false, got {values!r:.80}")
    return {key: values[key] for key in known if key in values}


def _ends(source: Path | str, config: Any) -> list[int]:
    """Ids that end an answer: generation_config.json knows them better than config.json."""
    from transformers import GenerationConfig

    try:
        ends = GenerationConfig.from_pretrained(source).eos_token_id
    except OSError:  # there is no such file
        ends = None
    ends = config.get_text_config().eos_token_id if ends is None else ends
    return ends if isinstance(ends, list) else [] if ends is None else [ends]


def _placed(source: Path | str, name: str, config: Any, quantize: str | None, weights: bool) -> PreTrainedModel:
    """The network on the device and in the numbers that `choose_placement` says."""
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    from duplex_runtime.models.placement import choose_placement, machine

    disable_progress_bar()

    def load(device: str, dtype: str) -> PreTrainedModel:
        where = {} if device == "cpu" else {"device_map": {"": device}}
        return AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, dtype), trust_remote_code=False, **where
        )

    try:
        with init_empty_weights():
            empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        if not weights:
            return empty
        place = choose_placement(machine(), sum(p.numel() for p in empty.parameters()))
        network = load(place.device, place.dtype)
        if place.check and not _finite(network):  # out of the range of float16
            network = load(place.device, "float32")
        if quantize:
            from duplex_runtime.models.quantize import quantize as to_int8

            to_int8(network)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None
    except Exception as error:  # files from outside, or no network: every fault becomes one message
        raise ModelError(f"{name}: the model does not load ({type(error).__name__}: {error})") from None
    return network


def _finite(network: PreTrainedModel) -> bool:
    """Are the logits of a short text numbers?"""
    import torch

    with torch.inference_mode():
        ids = torch.arange(1, 17, device=network.device)[None] % network.get_input_embeddings().num_embeddings
        return bool(torch.isfinite(network(input_ids=ids).logits).all())
