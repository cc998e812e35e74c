"""Which engine computes a model: ours on torch, llama.cpp, or inference servers.

torch              the network in this process, on the processor or a GPU
llamacpp           llama.cpp in this process, from a GGUF file, on the processor (the extra [llamacpp])
http://A,http://B  servers with the same weights: llama.cpp's, vLLM's or SGLang's (duplex_runtime/engine/remote)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from duplex_runtime.engine.requests import Engine
from duplex_runtime.errors import BadInput, ModelError

if TYPE_CHECKING:
    from duplex_runtime.engine.engine import SlotEngine
    from duplex_runtime.models.load import LoadedModel

#: Of the free memory, what the caches of all conversations of an engine may take.
_SHARE = 0.4


def make_engine(model: LoadedModel, slots: int) -> Engine:
    """An engine of at most `slots` conversations for `model.where`; raises BadInput, and what engines raise."""
    where = model.where
    if where == "torch":
        return torch_engine(model, slots)
    if where == "llamacpp":
        return _llamacpp_engine(model, slots)
    if where.startswith(("http://", "https://")):
        return _remote_engine(model, slots, where.split(","))
    raise BadInput(f"engine: expected torch, llamacpp, or addresses http://… of servers, got {where[:80]!r}")


def torch_engine(model: LoadedModel, slots: int) -> SlotEngine:
    """Ours; with fewer slots than asked for where memory is short."""
    from duplex_runtime.engine.engine import SlotEngine
    from duplex_runtime.engine.fused import FusedNetwork, fusible
    from duplex_runtime.engine.network import Network
    from duplex_runtime.engine.plain import PlainNetwork

    length = 2 * model.memory.limit
    slots = min(slots, _that_fit(model, length))
    # a large model's time is its arithmetic: there the hand-written pass would only double the weights
    small = model.parameters < 300e6 and fusible(model.network)
    network: Network = (FusedNetwork if small else PlainNetwork)(model.network, slots, length)
    return SlotEngine(network, model.layout.idle, model.layout.eos)


def _that_fit(model: LoadedModel, length: int) -> int:
    """How many caches of `length` tokens the free memory holds."""
    import psutil
    import torch

    config, device = model.network.config.get_text_config(), model.network.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    one = 2 * config.num_hidden_layers * heads * size * length * model.network.dtype.itemsize
    if (count := int(_SHARE * free / one)) < 1:
        raise ModelError(
            f"{model.name}: a conversation's cache takes {one / 1e9:.1f} GB, and all of them may take "
            f"{_SHARE * free / 1e9:.1f} GB of memory; close other programs, or use --engine llamacpp"
        )
    return count


def _llamacpp_engine(model: LoadedModel, slots: int) -> SlotEngine:
    from duplex_runtime.engine.engine import SlotEngine
    from duplex_runtime.engine.llamacpp import LlamaCppNetwork

    slots = min(slots, _that_fit(model, 2 * model.memory.limit))
    network = LlamaCppNetwork(gguf_of(model), slots, 2 * model.memory.limit)
    if network.vocabulary_size != model.network.config.vocab_size:
        raise ModelError(
            f"{network.path}: the file has {network.vocabulary_size} tokens, the model "
            f"{model.network.config.vocab_size}; write it again with `duplex convert --gguf`"
        )
    return SlotEngine(network, model.layout.idle, model.layout.eos)


def gguf_of(model: LoadedModel) -> Path:
    """The GGUF file in the model's folder; a small model's is made on first use."""
    from duplex_runtime.models.gguf import write_gguf
    from duplex_runtime.models.minicpm import cache_folder

    folder = model.folder
    if folder is None:
        raise ModelError(
            f"{model.name}: llama.cpp needs a folder; make one: `duplex convert {model.name} OUT --gguf q8_0`"
        )
    found = sorted(folder.glob("*.gguf"))
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelError(f"{folder}: expected one GGUF file, found {', '.join(f.name for f in found)}")
    if model.parameters > 300e6:
        raise ModelError(
            f"{folder}: expected a GGUF file in it; `duplex convert {model.name} OUT --gguf q4_0` makes one"
        )
    weights = next(folder.glob("*.safetensors")).stat()
    made = cache_folder() / f"{folder.name}-{weights.st_size}-{weights.st_mtime_ns}-f32.gguf"
    if not made.is_file():
        try:
            made.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(
                f"{made.parent}: cannot be made ({error.strerror}); set HF_HOME to another folder"
            ) from None
        write_gguf(folder, made, "f32")
    return made


def _remote_engine(model: LoadedModel, slots: int, urls: list[str]) -> Engine:
    from duplex_runtime.engine.remote import RemoteEngine

    return RemoteEngine(
        urls,
        idle=model.layout.idle,
        eos=model.layout.eos,
        slots=slots,
        max_length=2 * model.memory.limit,
        vocabulary=model.network.config.vocab_size,
        known={" volcano": model.vocabulary.encode(" volcano")},
    )
