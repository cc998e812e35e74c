"""The released MiniCPM-duplex as a folder that transformers 5, vLLM and SGLang load without remote code.

    convert(Path("MiniCPM-duplex"), Path("granite"))        # what `duplex convert` does
    folder = prepared("xinrongzhang2022/MiniCPM-duplex")    # the same, once, in the cache

GraniteForCausalLM computes the same as MiniCPM (arXiv 2404.06395; the names of the tensors are the same too):
embeddings times scale_emb, each residual branch times scale_depth/√layers, attention 1/√head_dim, and the final
hidden state divided by hidden/dim_model_base. The tokenizer becomes a tokenizer.json with the same ids. Nothing
of the source is executed: its Python files are not read, its pickle is loaded with weights_only.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import ModelError
from duplex_runtime.layout import MINICPM_DUPLEX, Layout, Vocabulary
from duplex_runtime.models import spm

if TYPE_CHECKING:
    import torch

IDLE, USER, MODEL = "<idle>", "<用户>", "<AI>"
#: Beside the weights: what they were made from, and their SHA-256.
ABOUT = "duplex.json"
#: Size of the released vocabulary: there the layout must be the one that is written down.
RELEASED_VOCABULARY = 122760
#: The part of a repository that is downloaded: no Python file.
WANTED = (
    "config.json", "generation_config.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "pytorch_model*.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
#: Most bytes of one file of weights.
SHARD_BYTES = 2_000_000_000
_CHUNK = 4_000_000  # numbers that are checked, hashed and written at a time

_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings",
)  # fmt: skip
_SCALES = ("rms_norm_eps", "scale_emb", "scale_depth", "dim_model_base")
#: Keys that other versions of the architecture have, and the only value of each that Granite can express here.
_FIXED: Mapping[str, Any] = {
    "rope_scaling": None, "attention_bias": False, "tie_word_embeddings": True, "hidden_act": "silu",
    "pretraining_tp": 1, "model_type": "minicpm",
}  # fmt: skip
_NO_MATTER = (
    "_name_or_path", "architectures", "auto_map", "initializer_range", "torch_dtype", "dtype", "transformers_version",
    "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "rope_theta", "attention_dropout",
)  # fmt: skip
_DTYPES = {"bfloat16": 2, "float16": 2, "float32": 4}
#: No model is larger; a damaged file must not fill the memory with the names of its tensors.
_MOST_LAYERS, _MOST = 1000, 10_000_000


# — what it is —


def is_released(folder: Path) -> bool:
    """Is this a checkpoint of MiniCPM's remote-code class? Raises ModelError if config.json cannot be read.

    The released config.json has no model_type; its class is named by `architectures`.
    """
    if not (folder / "config.json").is_file():
        return False
    return _is_minicpm(_json(folder / "config.json"))


def _is_minicpm(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == "minicpm" or config.get("architectures") == ["MiniCPMForCausalLM"]


def speaks_duplex(tokenizer: Any) -> bool:
    """Does a tokenizer of the transformers library belong to MiniCPM-duplex? Its template has the markers of the
    stream, and `<idle>` is a token."""
    template = tokenizer.chat_template
    return isinstance(template, str) and USER in template and MODEL in template and IDLE in tokenizer.get_vocab()


def layout_of(vocabulary: Vocabulary, bos: int, eos: int) -> Layout:
    """The layout of MiniCPM-duplex in a vocabulary; raises ModelError where `<idle>` is not one token."""
    idle = vocabulary.encode(IDLE)
    if len(idle) != 1:
        raise ModelError(f"expected {IDLE} to be one token of the vocabulary, got the ids {idle}")
    return Layout(bos, eos, idle[0], tuple(vocabulary.encode(USER)), tuple(vocabulary.encode(MODEL)), apart=True)


@dataclass(frozen=True)
class Shape:
    """What config.json says of the network."""

    values: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    @staticmethod
    def parse(config: Mapping[str, Any]) -> Shape:
        """Check every key; raises ModelError for what Granite could not do, or what is not known."""
        if not _is_minicpm(config):
            what = config.get("model_type") or config.get("architectures")
            raise ModelError(f"config.json: expected a MiniCPMForCausalLM, got {what!r}: only MiniCPM is converted")
        known = (*_SIZES, *_SCALES, *_FIXED, *_NO_MATTER)
        if unknown := sorted(set(config) - set(known)):
            raise ModelError(f"config.json: unknown keys {', '.join(unknown)}: another version of MiniCPM?")
        values: dict[str, Any] = {"num_key_value_heads": config.get("num_attention_heads"), "rope_theta": 10000.0}
        values |= {key: value for key, value in config.items() if value is not None}
        for key, only in _FIXED.items():
            if values.get(key, only) != only:
                raise ModelError(f"config.json: {key} is {values[key]!r}; only {only!r} can be converted")
        for key in _SIZES:
            most = _MOST_LAYERS if key == "num_hidden_layers" else _MOST
            if type(values.get(key)) is not int or not 1 <= values[key] <= most:
                got = str(values.get(key))[:40]
                raise ModelError(f"config.json: expected {key} to be a whole number from 1 to {most}, got {got}")
        for key in (*_SCALES, "rope_theta"):
            number = values.get(key)
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < 1e9:
                raise ModelError(f"config.json: expected {key} to be a number over 0, got {number!r}")
        if values["hidden_size"] % values["num_attention_heads"]:
            raise ModelError("config.json: hidden_size is not a multiple of num_attention_heads")
        if values["num_attention_heads"] % values["num_key_value_heads"]:
            raise ModelError("config.json: num_attention_heads is not a multiple of num_key_value_heads")
        values["dtype"] = values.get("torch_dtype", values.get("dtype", "bfloat16"))
        if values["dtype"] not in _DTYPES:
            raise ModelError(f"config.json: expected torch_dtype {', '.join(_DTYPES)}, got {values['dtype']!r}")
        return Shape(values)

    @property
    def head_dim(self) -> int:
        """Numbers a head."""
        return int(self.hidden_size // self.num_attention_heads)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor, in the order in which the network uses them."""
        hidden, inner = self.hidden_size, self.intermediate_size
        keys = self.num_key_value_heads * self.head_dim
        names: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, hidden)}
        for layer in range(self.num_hidden_layers):
            at = f"model.layers.{layer}"
            names[f"{at}.input_layernorm.weight"] = (hidden,)
            for name, rows, columns in (
                ("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", keys, hidden),
                ("self_attn.v_proj", keys, hidden), ("self_attn.o_proj", hidden, hidden),
                ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden), ("mlp.down_proj", hidden, inner),
            ):  # fmt: skip
                names[f"{at}.{name}.weight"] = (rows, columns)
            names[f"{at}.post_attention_layernorm.weight"] = (hidden,)
        names["model.norm.weight"] = (hidden,)
        return names

    def granite(self, bos: int, eos: int) -> dict[str, Any]:
        """config.json of the same network as a GraniteForCausalLM."""
        kept = {key: self.values[key] for key in (*_SIZES, "rms_norm_eps")}
        return {
            "architectures": ["GraniteForCausalLM"],
            "model_type": "granite",
            **kept,
            "hidden_act": "silu",
            "embedding_multiplier": float(self.scale_emb),
            "residual_multiplier": self.scale_depth / math.sqrt(self.num_hidden_layers),
            "attention_multiplier": 1 / math.sqrt(self.head_dim),
            "logits_scaling": self.hidden_size / self.dim_model_base,
            "rope_parameters": {"rope_type": "default", "rope_theta": float(self.rope_theta)},
            "rope_theta": float(self.rope_theta),  # for readers older than rope_parameters
            "attention_bias": False,
            "attention_dropout": 0.0,
            "mlp_bias": False,
            "tie_word_embeddings": True,  # Granite's default is False: the head would be random
            "bos_token_id": bos,
            "eos_token_id": eos,
            "dtype": self.dtype,
            "torch_dtype": self.dtype,
            "use_cache": True,
        }


def _json(path: Path, missing: Any = None) -> dict[str, Any]:
    if missing is not None and not path.is_file():
        return dict(missing)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent}: expected a file {path.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: expected a JSON object ({error})") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


# — the tokenizer —


def _tokenizer(source: Path, shape: Shape) -> tuple[Any, Layout, dict[str, Any]]:
    """(tokenizer of the tokenizers library, layout, tokenizer_config.json)."""
    if not (source / "tokenizer.model").is_file():
        raise ModelError(f"{source}: expected the sentencepiece file tokenizer.model")
    data = (source / "tokenizer.model").read_bytes()
    _no_pointer(source / "tokenizer.model", data[:64])
    pieces = spm.read(data, str(source / "tokenizer.model"))
    if not pieces.byte_fallback:
        raise ModelError(
            f"{source / 'tokenizer.model'}: expected bytes for characters that it does not know, as in the release"
        )
    given = _json(source / "tokenizer_config.json", {})
    added = _added(source, len(pieces.pieces), given)
    total = len(pieces.pieces) + len(added)
    if total != shape.vocab_size:
        raise ModelError(
            f"{source}: the tokenizer has {len(pieces.pieces)} pieces and {len(added)} added tokens, config.json says "
            f"vocab_size {shape.vocab_size}: they do not belong together"
        )
    ids = {name: pieces.id_of(text) for name, text in (("bos", "<s>"), ("eos", "</s>"))}
    for name, number in ids.items():
        if number is None or number != shape.values.get(f"{name}_token_id", number):
            said = shape.values.get(f"{name}_token_id")
            raise ModelError(f"{source}: config.json says {name}_token_id {said!r}, tokenizer.model {number!r}")
    bos, eos = int(ids["bos"] or 0), int(ids["eos"] or 0)
    tokenizer = spm.to_tokenizer(pieces, added, add_bos=bos)

    class Plain:
        """The new tokenizer behind the protocol of a vocabulary."""

        def encode(self, text: str) -> list[int]:
            return list(tokenizer.encode(text, add_special_tokens=False).ids)

        def decode(self, ids: Sequence[int]) -> str:
            return str(tokenizer.decode(list(ids)))

    layout = layout_of(Plain(), bos, eos)
    unknown = pieces.unknown
    if not layout.user_marker or not layout.model_marker or unknown in (*layout.user_marker, *layout.model_marker):
        raise ModelError(f"{source}: the tokenizer cannot write the markers {USER} and {MODEL}")
    if shape.vocab_size == RELEASED_VOCABULARY and layout != MINICPM_DUPLEX:
        raise ModelError(f"{source}: the markers have other ids than in the release: {layout}")
    return tokenizer, layout, _tokenizer_config(shape, pieces.pieces[unknown].text)


def _added(source: Path, first: int, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tokens behind the pieces, in order; `<idle>` must be one of them."""
    ids = _json(source / "added_tokens.json", {})
    if IDLE not in ids:
        raise ModelError(
            f"{source}: added_tokens.json has no {IDLE}: expected MiniCPM-duplex; a MiniCPM that was not trained to "
            "be silent is not converted"
        )
    by_id = {number: text for text, number in ids.items()}
    if sorted(map(str, by_id)) != sorted(str(first + i) for i in range(len(ids))):
        raise ModelError(f"{source}: added_tokens.json: expected the ids from {first} on without gaps, got {ids}")
    flags = given.get("added_tokens_decoder", {})
    added = []
    for number in range(first, first + len(ids)):
        said = flags.get(str(number), {}) if isinstance(flags, dict) else {}
        if not isinstance(said, dict) or said.get("content", by_id[number]) != by_id[number]:
            raise ModelError(f"{source}: tokenizer_config.json and added_tokens.json disagree about the id {number}")
        token = {name: bool(said.get(name, False)) for name in ("lstrip", "rstrip", "single_word", "normalized")}
        special = bool(said.get("special", False)) and by_id[number] != IDLE  # it is said, so it is no special token
        added.append({"content": by_id[number], "special": special} | token)
    return added


def _tokenizer_config(shape: Shape, unknown: str) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # the file as it is; a LlamaTokenizer would rebuild it
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": unknown,
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.max_position_embeddings,
        # as the token stream has it; the release's own leaves </s> out and relies on a tokenizer that adds <s>
        "chat_template": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '"
        + USER + "' + message['content'] | trim + '" + MODEL
        + "' }}{% else %}{{ message['content'] | trim + eos_token }}{% endif %}{% endfor %}",
    }  # fmt: skip


# — the weights —


def _no_pointer(path: Path, head: bytes) -> None:
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: this is a pointer of Git LFS, not the file: run `git lfs pull` in its folder")


def _weight_files(source: Path) -> dict[str, Path]:
    """File of every tensor that an index names, or {"": file} for a single file."""
    single, index = source / "pytorch_model.bin", source / "pytorch_model.bin.index.json"
    if single.is_file():
        return {"": single}
    if not index.is_file():
        raise ModelError(f"{source}: expected pytorch_model.bin, or pytorch_model.bin.index.json with its shards")
    names = _json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ModelError(f"{index}: expected a weight_map of tensor names to files")
    files = {}
    for name, file in names.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".bin"):
            raise ModelError(f"{index}: expected names of .bin files beside it, got {file!r}")
        files[name] = source / file
    for path in sorted(set(files.values())):
        if not path.is_file():
            raise ModelError(f"{source}: expected the file {path.name} that {index.name} names")
    return files


def _unpickle(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file; raises ModelError for a damaged file, or one with anything but tensors in it."""
    import pickle

    import torch

    with path.open("rb") as file:
        _no_pointer(path, file.read(64))
    zipped = zipfile.is_zipfile(path)
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:  # torch does not compare the check sums in the archive
                if damaged := archive.testzip():
                    raise ModelError(f"{path}: damaged: {damaged} is not what was written; download it again")
        # mapped, so that memory holds only what is being written; the oldest files of torch cannot be
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0][:200]
        raise ModelError(f"{path}: refused, cut off or more than tensors in it: nothing was run ({reason})") from None
    except Exception as error:  # a file from outside: every fault of it becomes one message
        raise ModelError(f"{path}: cut off or damaged ({type(error).__name__}: {str(error)[:200]})") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"{path}: expected a dictionary of tensors")
    return {name: tensor.detach() for name, tensor in state.items()}


def _state(source: Path, shape: Shape) -> dict[str, torch.Tensor]:
    """All tensors, checked by name, shape and type against config.json; mapped from disk."""
    import torch

    files, state = _weight_files(source), {}
    for path in sorted(set(files.values())):
        for name, tensor in _unpickle(path).items():
            if files.get(name, files.get("")) != path:
                raise ModelError(f"{path}: has a tensor {name!r} that the index does not place there")
            state[name] = tensor
    wanted, kind = shape.tensors(), getattr(torch, shape.dtype)
    head = state.pop("lm_head.weight", None)
    missing, extra = [n for n in wanted if n not in state], [n for n in state if n not in wanted]
    if missing or extra:
        raise ModelError(
            f"{source}: the weights are not those of config.json: {_some(missing)} missing, {_some(extra)} unknown"
        )
    for name, size in wanted.items():
        tensor = state[name]
        if tuple(tensor.shape) != size or tensor.dtype != kind or tensor.layout != torch.strided or tensor.is_meta:
            what = "no numbers" if tensor.is_meta else str(tensor.dtype).removeprefix("torch.")
            raise ModelError(
                f"{source}: {name}: config.json asks for {shape.dtype} {list(size)}, got {what} {list(tensor.shape)}"
            )
    embeddings = state["model.embed_tokens.weight"]
    if head is not None and not (
        head.dtype == kind and head.shape == embeddings.shape and torch.equal(head, embeddings)
    ):
        raise ModelError(f"{source}: lm_head.weight is not the embedding matrix; expected them to be tied")
    return state


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}" if names else "none"


def _write(
    path: Path, names: Sequence[str], state: Mapping[str, torch.Tensor], dtype: str, progress: Callable[[int], Any]
) -> str:
    """One safetensors file, a few megabytes at a time; returns its SHA-256.

    Format: 8 bytes length of the header, little-endian; the header, JSON padded to 8; the tensors row by row.
    """
    import torch

    code = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in names:
        size = state[name].numel() * _DTYPES[dtype]
        header[name] = {"dtype": code, "shape": list(state[name].shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def put(data: Any) -> None:
            file.write(data)
            digest.update(data)

        put(len(text).to_bytes(8, "little") + text)
        for name in names:
            flat = state[name].contiguous().view(-1)
            for chunk in flat.split(_CHUNK):
                if not torch.isfinite(chunk).all():
                    raise ModelError(f"{name}: not all of its numbers are finite; the file is damaged")
                put(memoryview(chunk.view(torch.uint8).numpy()))
                progress(chunk.numel() * _DTYPES[dtype])
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _shards(shape: Shape, most: int) -> list[list[str]]:
    """Names of the tensors of each file, at most `most` bytes each (one tensor may be larger)."""
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in shape.tensors().items():
        size_bytes = math.prod(size) * _DTYPES[shape.dtype]
        if shards[-1] and held + size_bytes > most:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size_bytes
    return shards


def _write_weights(folder: Path, source: Path, shape: Shape, progress: bool, shard_bytes: int) -> dict[str, str]:
    """The files of weights and their index; SHA-256 of each."""
    from tqdm import tqdm

    state = _state(source, shape)
    shards = _shards(shape, shard_bytes)
    total = sum(math.prod(size) for size in shape.tensors().values()) * _DTYPES[shape.dtype]
    sums: dict[str, str] = {}
    places: dict[str, str] = {}
    # disable None: no bar where nobody looks
    bar = tqdm(total=total, unit="B", unit_scale=True, desc="converting", disable=None if progress else True)
    with bar:
        for number, names in enumerate(shards, 1):
            single = len(shards) == 1
            file = "model.safetensors" if single else f"model-{number:05}-of-{len(shards):05}.safetensors"
            sums[file] = _write(folder / file, names, state, shape.dtype, bar.update)
            places |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        _dump(folder / "model.safetensors.index.json", index)
    return sums


# — the folder —


def convert(source: Path, out: Path, *, progress: bool = True, shard_bytes: int = SHARD_BYTES) -> Path:
    """Write the checkpoint in `source` as a GraniteForCausalLM to the new or empty folder `out`.

    Raises ModelError if anything is not as in the release; then `out` is not there, nor anything half-made.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out}: expected a new or an empty folder to write to")
    shape = Shape.parse(_json(source / "config.json"))
    tokenizer, layout, tokenizer_config = _tokenizer(source, shape)
    total = sum(math.prod(size) for size in shape.tensors().values()) * _DTYPES[shape.dtype]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
        if free < total + 50_000_000:
            raise ModelError(
                f"{out}: needs {total / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB left: free some, or choose "
                "another place"
            )
        making = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".making", dir=out.parent))
    except OSError as error:
        raise ModelError(f"{out}: cannot be written ({error.strerror})") from None
    try:
        sums = _write_weights(making, source, shape, progress, shard_bytes)
        _dump(making / "config.json", shape.granite(layout.bos, layout.eos))
        _dump(making / "tokenizer_config.json", tokenizer_config)
        tokenizer.save(str(making / "tokenizer.json"))
        drawn = _json(source / "generation_config.json", {})
        kept = {key: drawn[key] for key in ("do_sample", "temperature", "top_p") if key in drawn}
        _dump(making / "generation_config.json", {"bos_token_id": layout.bos, "eos_token_id": layout.eos, **kept})
        sums["tokenizer.json"] = _sha256(making / "tokenizer.json")
        _dump(making / ABOUT, {"format": 1, "made_from": "MiniCPM-duplex", "sha256": sums})
        (making / "README.md").write_text(CARD, encoding="utf-8")
        making.chmod(0o755)  # mkdtemp's is for its owner alone
        making.replace(out)
    except OSError as error:
        raise ModelError(f"{out}: cannot be written ({error.strerror or error}); nothing was kept") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return out


CARD = """\
# MiniCPM-duplex in Granite form

The weights of [MiniCPM-duplex](https://huggingface.co/xinrongzhang2022/MiniCPM-duplex) (arXiv 2406.15718), unchanged,
with a config.json and a tokenizer.json by which transformers 5, vLLM and SGLang load them without remote code. Made by
`duplex convert` of Duplex Arena, which changed these files: config.json (MiniCPM's factors as those of
GraniteForCausalLM), the tokenizer (sentencepiece as tokenizer.json, the same ids), the weights (pickle as safetensors).

Licence: MiniCPM-duplex is released under Apache-2.0. It was trained from MiniCPM-2B-sft-bf16, whose model cards name
different terms for the base weights (Apache-2.0, or OpenBMB's General Model License): read them before you pass it on.
"""


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path) -> None:
    """Compare the files of a converted folder with their SHA-256; raises ModelError. Nothing to do for others.

    1.8 GB a second and thread where the processor has SHA instructions: 2 s for the release on two cores.
    """
    if not (folder / ABOUT).is_file():
        return
    sums = _json(folder / ABOUT).get("sha256")
    if not isinstance(sums, dict) or not sums:
        raise ModelError(f"{folder / ABOUT}: expected SHA-256 sums of the weights")
    if strangers := sorted({p.name for p in folder.glob("*.safetensors")} - set(sums)):
        raise ModelError(f"{folder}: {strangers[0]} is not among the files that {ABOUT} names")

    def wrong(item: tuple[str, Any]) -> str | None:
        name, wanted = item
        path = folder / Path(name).name
        if not path.is_file():
            return f"{name} is missing"
        return None if _sha256(path) == wanted else f"{name} is not what was written"

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = [fault for fault in pool.map(wrong, sums.items()) if fault]
    if found:
        raise ModelError(f"{folder}: damaged: {found[0]}; delete the folder and convert again")


# — the cache —


def prepared(name: str, *, progress: bool = True) -> Path | None:
    """The converted folder of a hub id or a released folder, made on first use; None if `name` is no MiniCPM.

    It stands beside the cache of huggingface_hub, under a name with the revision, or a check sum of a folder's state.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not is_released(folder):
            return None
        return _cached(f"{folder.resolve().name}-{_fingerprint(folder)}", lambda: folder, progress)
    config = _from_hub(name, "config.json")
    if config is None or not is_released(config.parent):
        return None
    revision = config.parent.name  # the cache of the hub: snapshots/REVISION/config.json
    return _cached(f"{name.replace('/', '--')}-{revision[:12]}", lambda: _snapshot(name, revision), progress)


def source_folder(name: str) -> Path:
    """The folder of a released checkpoint: `name` itself, or what is downloaded of a hub id; raises ModelError."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"{name}: expected a folder of the released checkpoint, or a hub id OWNER/NAME")
    return _snapshot(name, None)


def cache_folder() -> Path:
    """Where converted checkpoints are kept: `duplex-arena` beside the hub's own cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "duplex-arena"


def _cached(key: str, source: Callable[[], Path], progress: bool) -> Path:
    from filelock import FileLock

    root = cache_folder()
    out = root / key
    if (out / ABOUT).is_file():
        return out
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{root}: cannot be written ({error.strerror}); set HF_HOME to another folder") from None
    with FileLock(root / f".{key}.lock"):  # two processes that start together convert once
        if not (out / ABOUT).is_file():
            for left in root.glob(f".{key}.*.making"):  # of a process that was killed: nobody else holds the lock
                shutil.rmtree(left, ignore_errors=True)
            convert(source(), out, progress=progress)
    return out


def _fingerprint(folder: Path) -> str:
    """Changes whenever a file does: names, sizes and times, for the sum of 5 GB would be too slow at each start."""
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for path in _wanted_files(folder):
        stat = path.stat()
        digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _wanted_files(folder: Path) -> Iterator[Path]:
    for pattern in WANTED:
        yield from sorted(folder.glob(pattern))


def _from_hub(name: str, file: str) -> Path | None:
    """A file of a hub repository, None if it cannot be had: then the caller's own loading says why."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, file))
    except Exception:  # no such repository, no such file, no network: all said better by who loads it
        return None


def _snapshot(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(WANTED)))
    except Exception as error:
        raise ModelError(f"{name}: could not be downloaded ({type(error).__name__}: {error})") from None
