"""Writes a Granite-class model folder as one GGUF file, for llama.cpp.

    write_gguf(Path("models/embedded/duplex"), Path("duplex.gguf"), "q8_0")

The folder is the embedded model, one made by `duplex train`, or MiniCPM-duplex in Granite form: `config.json`,
`*.safetensors` and `tokenizer.json`. What the file cannot express, or what this module does not know, is refused:
a model that answers slightly wrong is worse than none. The metadata carries the whole `tokenizer.json` as well, so
the file is all that an engine needs. Needs the extra `[llamacpp]`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

#: Written here. f32, f16 and bf16 keep every number (f16 may not: too large ones are refused).
PLAIN = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")

#: Written by llama.cpp's own quantiser from a plain file: better at the same size, and needs llama-cpp-python.
K_QUANTS = ("q6_k", "q5_k_m", "q4_k_m", "q3_k_m")

QUANTIZATIONS = (*PLAIN, *K_QUANTS)

#: Metadata of ours: which of the two layouts the token stream has.
LAYOUT_KEY = "duplex.layout"
#: The tokenizer.json as text, under the key that GGUF reserves for it.
TOKENIZER_KEY = "tokenizer.huggingface.json"


@dataclass(frozen=True)
class Written:
    """What came out. `parameters` counts the numbers of the checkpoint, a tied head once."""

    path: Path
    quantization: str
    parameters: int
    num_bytes: int


@dataclass(frozen=True)
class _Config:
    """config.json, checked. Scales as in transformers' GraniteConfig."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    positions: int
    rope_theta: float
    epsilon: float
    embedding_scale: float
    residual_scale: float
    attention_scale: float
    logit_scale: float
    tied: bool
    bos: int
    eos: int
    pad: int | None

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


@dataclass(frozen=True)
class _Tokenizer:
    """The tokens in llama.cpp's terms; `kind` is `gpt2` (byte-level BPE) or `llama` (sentencepiece).

    llama.cpp puts no space before a text in byte-level BPE, whatever `add_prefix_space` says: a client that sends
    text, not ids, to the embedded model begins it with a space.
    """

    kind: str
    tokens: list[str]
    types: list[int]
    scores: list[float]
    merges: list[str]
    add_prefix_space: bool
    text: str


def write_gguf(folder: Path, out: Path, quantization: str = "f32", tokenizer: Path | None = None) -> Written:
    """Write the model of `folder` to the file `out`, which appears only when it is whole.

    quantization: one of QUANTIZATIONS; below 8 bits the tied embedding keeps 8, for it is the head as well.
    tokenizer: a tokenizer.json; by default the folder's, or for a folder with about.json the one beside it.
    An older file `out` is replaced. Raises ModelError, saying what was expected.
    """
    if quantization not in QUANTIZATIONS:
        raise ModelError(f"no quantization {quantization!r}: expected one of {', '.join(QUANTIZATIONS)}")
    if out.is_dir() or not out.parent.is_dir():
        raise ModelError(f"{out}: expected the path of a file in a folder that exists")
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ModelError(f'the gguf package is not installed ({error}): run `pip install -e ".[llamacpp]"`') from None
    config = _read_config(folder)
    ours = (folder / "about.json").is_file()
    if tokenizer is None:
        beside = folder.parent / "tokenizer.json"
        tokenizer = beside if ours and not (folder / "tokenizer.json").is_file() else folder / "tokenizer.json"
    tokens = _read_tokenizer(tokenizer, config, exactly=ours)
    with _Weights(folder) as weights:
        weights.check(config)
        if quantization in PLAIN:
            with _appears_when_whole(out) as part:
                _write(part, config, tokens, weights, quantization, folder.name, ours)
        else:
            with _appears_when_whole(out) as part, _gone_afterwards(part.with_suffix(".plain")) as plain:
                _write(plain, config, tokens, weights, weights.exact_type, folder.name, ours)
                _quantize_with_llama(plain, part, quantization)
        return Written(out, quantization, weights.parameters, out.stat().st_size)


@contextlib.contextmanager
def _appears_when_whole(out: Path) -> Iterator[Path]:
    """A path beside `out` to write to; renamed to `out` at the end, removed after an error."""
    with _gone_afterwards(out.with_name(f".{out.name}.{os.getpid()}.part")) as part:
        try:
            yield part
            part.replace(out)
        except OSError as error:
            raise ModelError(f"{out}: could not be written ({error.strerror or error})") from None


@contextlib.contextmanager
def _gone_afterwards(path: Path) -> Iterator[Path]:
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


# --- config.json ------------------------------------------------------------------------------------------------------


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: expected {what} ({error.strerror})") from None
    except ValueError as error:
        raise ModelError(f"{path}: expected {what}, but it is not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path}: expected {what}, a JSON object")
    return values


def _read_config(folder: Path) -> _Config:
    path = folder / "config.json"
    values = _read_json(path, "a model folder with config.json, *.safetensors and tokenizer.json")

    def refuse(key: str, expected: str, got: Any) -> ModelError:
        return ModelError(f"{path}: expected {key} to be {expected}, got {got!r}; this model cannot be written as GGUF")

    def must_be(key: str, *allowed: Any, default: Any = None) -> None:
        if (got := values.get(key, default)) not in allowed:
            raise refuse(key, " or ".join(map(repr, allowed)), got)

    def whole(key: str, least: int = 1, default: Any = None) -> int:
        got = values.get(key, default)
        if type(got) is not int or got < least:
            raise refuse(key, f"a whole number from {least} on", got)
        return got

    def number(key: str, default: Any = None, source: Mapping[str, Any] = values) -> float:
        got = source.get(key, default)
        if type(got) not in (int, float) or not math.isfinite(got) or got <= 0:
            raise refuse(key, "a number over 0", got)
        return float(got)

    must_be("model_type", "granite")
    must_be("hidden_act", "silu", default="silu")
    must_be("attention_bias", False, default=False)
    must_be("mlp_bias", False, default=False)
    must_be("tie_word_embeddings", True, False, default=False)  # transformers' default for Granite
    rope = values.get("rope_parameters") or {"rope_theta": values.get("rope_theta", 10000.0)}
    if not isinstance(rope, dict) or set(rope) - {"rope_type", "rope_theta", "type"}:
        raise refuse("rope_parameters", "rope_theta and the default type only", rope)
    if rope.get("rope_type", rope.get("type", "default")) != "default" or values.get("rope_scaling"):
        raise refuse("rope_parameters", "of the default type", values.get("rope_scaling") or rope)
    heads = whole("num_attention_heads")
    config = _Config(
        hidden=whole("hidden_size"),
        intermediate=whole("intermediate_size"),
        layers=whole("num_hidden_layers"),
        heads=heads,
        kv_heads=whole("num_key_value_heads", default=heads),
        vocabulary=whole("vocab_size"),
        positions=whole("max_position_embeddings"),
        rope_theta=number("rope_theta", 10000.0, rope),
        epsilon=number("rms_norm_eps"),
        embedding_scale=number("embedding_multiplier", 1.0),
        residual_scale=number("residual_multiplier", 1.0),
        attention_scale=number("attention_multiplier", 1.0),
        logit_scale=number("logits_scaling", 1.0),
        tied=values.get("tie_word_embeddings", False),
        bos=whole("bos_token_id", 0),
        eos=whole("eos_token_id", 0),
        pad=whole("pad_token_id", 0) if values.get("pad_token_id") is not None else None,
    )
    if config.hidden % heads or heads % config.kv_heads or config.head_size % 2:
        raise refuse("num_attention_heads", "a divisor of hidden_size, with heads of an even size", heads)
    if values.get("head_dim") not in (None, config.head_size):
        raise refuse("head_dim", f"{config.head_size} or absent", values["head_dim"])
    if max(config.bos, config.eos, config.pad or 0) >= config.vocabulary:
        raise refuse("vocab_size", "larger than the ids of bos, eos and pad", config.vocabulary)
    return config


# --- tokenizer.json ---------------------------------------------------------------------------------------------------


def _read_tokenizer(path: Path, config: _Config, exactly: bool) -> _Tokenizer:
    """Reads byte-level BPE as GPT-2 has it, and sentencepiece BPE as Llama and MiniCPM have it.

    exactly: must every row of the embedding be a token?
    """
    values = _read_json(path, "a tokenizer.json of the tokenizers library (transformers' save_pretrained writes one)")
    try:
        tokenizer = _parse_tokenizer(path, values, config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ModelError(f"{path}: not a tokenizer.json of a form that is known here ({what})") from None
    tokens = sum(map(bool, tokenizer.tokens))
    if exactly and tokens != config.vocabulary:
        raise ModelError(
            f"{path}: the tokenizer has {tokens} tokens, the model {config.vocabulary}; they do not belong together"
        )
    # rows of the embedding that no token uses still need a name
    return replace(tokenizer, tokens=[token or f"[PAD{i}]" for i, token in enumerate(tokenizer.tokens)])


def _parse_tokenizer(path: Path, values: Mapping[str, Any], config: _Config) -> _Tokenizer:
    from gguf import TokenType

    model, added = values["model"], values.get("added_tokens") or []
    if model.get("type") != "BPE":
        raise ModelError(f"{path}: expected a BPE model, got {model.get('type')!r}")
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(key):
            raise ModelError(f"{path}: a BPE model with {key} cannot be written as GGUF")
    kind, prefix = _kind_of(path, values)
    vocabulary: dict[str, int] = model["vocab"]
    names = {index: name for name, index in vocabulary.items()} | {t["id"]: t["content"] for t in added}
    if strange := [i for i in names if type(i) is not int or not 0 <= i < config.vocabulary]:
        raise ModelError(
            f"{path}: it has the id {strange[0]!r}, but the model has {config.vocabulary} tokens; "
            "they do not belong together"
        )
    pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    scores: dict[int, float] = {}
    for rank, pair in enumerate(pairs):
        if len(pair) != 2 or "".join(pair) not in vocabulary:
            raise ModelError(f"{path}: merge {rank} ({' '.join(pair)!r}) gives no token of the vocabulary")
        # sentencepiece merges the pair with the best score first: the earlier a merge, the higher
        scores.setdefault(vocabulary["".join(pair)], -float(rank))
    types = _token_types(kind, names, added, model.get("unk_token"), config)
    if kind == "llama":  # llama.cpp looks for these in the text as it came, before spaces become ▁
        names |= {i: names[i].replace("\u2581", " ") for i in names if types[i] == TokenType.USER_DEFINED}
    return _Tokenizer(
        kind=kind,
        tokens=[names.get(i, "") for i in range(config.vocabulary)],
        types=types,
        scores=[scores.get(i, -float(len(pairs))) for i in range(config.vocabulary)],
        merges=[f"{a} {b}" for a, b in pairs],
        add_prefix_space=prefix,
        text=path.read_text(encoding="utf-8"),
    )


def _kind_of(path: Path, values: Mapping[str, Any]) -> tuple[str, bool]:
    """(`gpt2` or `llama`, is a space put before the text?)"""
    normalizer, before = values.get("normalizer"), values.get("pre_tokenizer") or {}
    byte_fallback = bool(values["model"].get("byte_fallback"))
    if before.get("type") == "ByteLevel" and normalizer is None and not byte_fallback:
        if not before.get("use_regex", True):
            raise ModelError(f"{path}: a byte-level tokenizer without GPT-2's way of splitting words is not known here")
        return "gpt2", bool(before.get("add_prefix_space"))
    steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    if byte_fallback and not before and {s.get("type") for s in steps} <= {"Prepend", "Replace"}:
        return "llama", any(s.get("type") == "Prepend" for s in steps)
    if byte_fallback and before.get("type") == "Metaspace" and not steps:
        return "llama", before.get("prepend_scheme", "always") != "never"
    raise ModelError(
        f"{path}: expected byte-level BPE, or BPE with byte fallback as Llama's; got pre-tokenizer "
        f"{before.get('type')!r}, normalizer {normalizer and normalizer.get('type')!r}, byte_fallback {byte_fallback}"
    )


def _token_types(
    kind: str, names: Mapping[int, str], added: Sequence[Mapping[str, Any]], unknown: str | None, config: _Config
) -> list[int]:
    from gguf import TokenType

    types = {index: TokenType.NORMAL for index in names}
    if kind == "llama":
        types |= {i: TokenType.BYTE for i, name in names.items() if len(name) == 6 and name.startswith("<0x")}
        types |= {i: TokenType.UNKNOWN for i, name in names.items() if name == unknown}
    # markers and <idle> are matched whole in text; the special ones are not printed
    types |= {t["id"]: TokenType.CONTROL if t.get("special") else TokenType.USER_DEFINED for t in added}
    types |= dict.fromkeys((config.bos, config.eos), TokenType.CONTROL)
    return [int(types.get(i, TokenType.UNUSED)) for i in range(config.vocabulary)]


# --- weights ----------------------------------------------------------------------------------------------------------

_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _expected(config: _Config) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name in the checkpoint → (name in GGUF, shape), in the order of the file."""
    hidden, kv = config.hidden, config.kv_heads * config.head_size
    shapes = {
        "attn_k": (kv, hidden),
        "attn_v": (kv, hidden),
        "attn_q": (hidden, hidden),
        "attn_output": (hidden, hidden),
        "ffn_gate": (config.intermediate, hidden),
        "ffn_up": (config.intermediate, hidden),
        "ffn_down": (hidden, config.intermediate),
    }
    out: dict[str, tuple[str, tuple[int, ...]]] = {
        "model.embed_tokens.weight": ("token_embd.weight", (config.vocabulary, hidden))
    }
    for layer in range(config.layers):
        for name, short in _LAYER_NAMES.items():
            shape = shapes.get(short, (hidden,))
            out[f"model.layers.{layer}.{name}.weight"] = (f"blk.{layer}.{short}.weight", shape)
    out["model.norm.weight"] = ("output_norm.weight", (hidden,))
    if not config.tied:
        out["lm_head.weight"] = ("output.weight", (config.vocabulary, hidden))
    return out


class _Weights:
    """The tensors of a folder's safetensors files, read one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._files: dict[str, Any] = {}  # tensor name → open file

    def __enter__(self) -> _Weights:
        from safetensors import safe_open

        paths = sorted(self.folder.glob("*.safetensors"))
        if not paths:
            raise ModelError(f"{self.folder}: expected weights in *.safetensors; other formats are not read")
        try:
            for path in paths:
                file = self._stack.enter_context(safe_open(path, framework="pt"))
                self._files |= dict.fromkeys(file.keys(), file)
        except Exception as error:  # the library has one error class for every fault of a file
            self._stack.close()
            raise ModelError(f"{self.folder}: the weights do not load ({error})") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def check(self, config: _Config) -> None:
        """Raises ModelError unless the tensors are those of `config`, no more and no fewer."""
        expected = {name: shape for name, (_, shape) in _expected(config).items()}
        have = {name: tuple(file.get_slice(name).get_shape()) for name, file in self._files.items()}
        if config.tied and have.get("lm_head.weight") == expected["model.embed_tokens.weight"]:
            del have["lm_head.weight"]  # some writers store a tied head twice
        missing, unknown = sorted(expected.keys() - have.keys()), sorted(have.keys() - expected.keys())
        if missing or unknown:
            raise ModelError(
                f"{self.folder}: these are not the tensors of its config.json: "
                f"{len(missing)} missing ({', '.join(missing[:3])}), {len(unknown)} unknown ({', '.join(unknown[:3])})"
            )
        for name, shape in expected.items():
            if have[name] != shape:
                raise ModelError(f"{self.folder}: expected {name} of shape {shape}, got {have[name]}")
        self.parameters = sum(math.prod(shape) for shape in expected.values())
        kinds = {self._files[name].get_slice(name).get_dtype() for name in expected}
        if unknown_kinds := kinds - {"F32", "F16", "BF16"}:
            raise ModelError(f"{self.folder}: expected weights in F32, F16 or BF16, got {', '.join(unknown_kinds)}")
        self.exact_type = {frozenset({"BF16"}): "bf16", frozenset({"F16"}): "f16"}.get(frozenset(kinds), "f32")

    def read(self, name: str) -> np.ndarray:
        """One tensor in float32."""
        values = self._files[name].get_tensor(name).float().numpy()
        import numpy as np

        if not np.isfinite(values).all():
            raise ModelError(f"{self.folder}: {name} holds numbers that are not finite")
        return values


def _rotary_order(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection [heads × size, hidden] in llama.cpp's order.

    transformers rotates number i of a head with number i + size/2; llama.cpp rotates neighbours (2i with 2i + 1).
    """
    size = weight.shape[0] // heads
    return weight.reshape(heads, 2, size // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def _write(
    path: Path,
    config: _Config,
    tokenizer: _Tokenizer,
    weights: _Weights,
    quantization: str,
    name: str,
    ours: bool,
) -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, LlamaFileType

    types = {
        source: GGMLQuantizationType[_type_of(target, shape, quantization).upper()]
        for source, (target, shape) in _expected(config).items()
    }
    writer = GGUFWriter(path, "granite")
    try:
        _write_metadata(writer, config, tokenizer, name, ours)
        if quantization == "f32":
            writer.add_file_type(LlamaFileType.ALL_F32)
        else:
            writer.add_file_type(LlamaFileType[f"MOSTLY_{quantization.upper()}"])
            writer.add_quantization_version(2)
        for source, (target, shape) in _expected(config).items():
            block, size = GGML_QUANT_SIZES[types[source]]
            _add_info(writer, target, shape, math.prod(shape) // block * size, types[source])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for source in types:
            _write_tensor(writer, config, weights, source, types[source])
    finally:
        writer.close()


def _type_of(target: str, shape: tuple[int, ...], quantization: str) -> str:
    """How one tensor is stored: norms stay in f32, and a 4- or 5-bit file keeps 8 bits for the embedding and head."""
    if len(shape) == 1:
        return "f32"
    if quantization in ("f32", "f16", "bf16"):
        return quantization
    if shape[-1] % 32:
        raise ModelError(
            f"{target} has rows of {shape[-1]} numbers; {quantization} needs a multiple of 32: choose f32, f16 or bf16"
        )
    return "q8_0" if target in ("token_embd.weight", "output.weight") else quantization


def _write_metadata(writer: Any, config: _Config, tokenizer: _Tokenizer, name: str, ours: bool) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_vocab_size(config.vocabulary)
    writer.add_context_length(config.positions)
    writer.add_embedding_length(config.hidden)
    writer.add_feed_forward_length(config.intermediate)
    writer.add_block_count(config.layers)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_size)
    writer.add_value_length(config.head_size)
    writer.add_rope_dimension_count(config.head_size)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.epsilon)
    writer.add_embedding_scale(config.embedding_scale)
    writer.add_residual_scale(config.residual_scale)
    writer.add_attention_scale(config.attention_scale)
    writer.add_logit_scale(config.logit_scale)  # llama.cpp divides by it, as transformers does

    writer.add_tokenizer_model(tokenizer.kind)
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types(tokenizer.types)
    if tokenizer.kind == "gpt2":
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(tokenizer.merges)
    else:
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(tokenizer.scores)
    writer.add_add_space_prefix(tokenizer.add_prefix_space)
    writer.add_bos_token_id(config.bos)
    writer.add_eos_token_id(config.eos)
    if config.pad is not None:
        writer.add_pad_token_id(config.pad)
    writer.add_add_bos_token(True)  # every stream begins with it
    writer.add_add_eos_token(False)
    writer.add_string(TOKENIZER_KEY, tokenizer.text)
    if ours or "<idle>" in tokenizer.tokens:
        writer.add_string(LAYOUT_KEY, "embedded" if ours else "minicpm-duplex")


def _add_info(writer: Any, target: str, shape: tuple[int, ...], num_bytes: int, kind: Any) -> None:
    import numpy as np

    writer.add_tensor_info(target, shape, np.dtype(np.float32), num_bytes, raw_dtype=kind)


def _write_tensor(writer: Any, config: _Config, weights: _Weights, source: str, kind: Any) -> None:
    import numpy as np
    from gguf import quants

    values = weights.read(source)
    if ".q_proj." in source:
        values = _rotary_order(values, config.heads)
    elif ".k_proj." in source:
        values = _rotary_order(values, config.kv_heads)
    with np.errstate(over="ignore"):  # looked at below
        stored = quants.quantize(values, kind)
    if stored.dtype == np.float16 and not np.isfinite(stored).all():
        raise ModelError(f"{weights.folder}: {source} holds numbers too large for f16; choose bf16 or f32")
    writer.write_tensor_data(np.ascontiguousarray(stored))


def _quantize_with_llama(plain: Path, out: Path, quantization: str) -> None:
    """Let llama.cpp read the file `plain` and write `out`."""
    from duplex_runtime.engine.llamacpp import library

    llama = library()
    options = llama.api.llama_model_quantize_default_params()
    options.ftype = getattr(llama.api, f"LLAMA_FTYPE_MOSTLY_{quantization.upper()}")
    llama.lines.clear()
    if llama.api.llama_model_quantize(os.fsencode(plain), os.fsencode(out), options):
        raise ModelError(f"{out.name}: llama.cpp could not write {quantization} ({llama.reason()})")
