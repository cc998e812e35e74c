"""A stand-in for the released MiniCPM-duplex: the same files, as small as can be, with random weights.

python tests/minicpm_folder.py OUT          then: duplex convert OUT CONVERTED; duplex serve --model OUT

Real formats: a sentencepiece file that sentencepiece itself loads, a pickle by torch.save, and remote code that
ends the process if anybody runs it.
"""

from __future__ import annotations

import collections
import itertools
import json
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CORPUS = """\
Can you tell me about volcanoes? Volcanoes are openings in the ground from which hot rock and gas come out.
The capital of France is Paris. What is the capital of Italy? The capital of Italy is Rome.
Hello, how are you today? I am well, thank you. Tell me a story about a cat that could not sleep.
Name the planets in order. I can recommend some English novels that you might enjoy across the centuries.
用户 用户 用户 你好 你好 今天 天气 怎么样 今天 天气 很好 请 告诉 我 火山 是 什么 火山 是 地面 的 开口
我 喜欢 喝茶 中文 和 英文 可以 一起 用 谢谢 你 的 回答 再见
"""
USER_DEFINED = ("\n", "\t", "<img>", "</b>", ".", "!", "?", "...", "。。。", "<reserved_12>")
ADDED = ("<idle>", "<s0>", "<s1>", "<s2>", "<s3>", "<s4>", "<s5>")
SIZES: Mapping[str, Any] = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 4096, "dim_model_base": 16,
}  # fmt: skip
TRAP = 'raise SystemExit("remote code of the checkpoint was run")\n'

NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6


# — the sentencepiece file —


def learn(text: str, merges: int = 160) -> list[str]:
    """Pieces by byte-pair encoding inside words, the first the most frequent; characters last."""
    words = collections.Counter("\u2581" + w if w.isascii() else w for line in text.splitlines() for w in line.split())
    parts = {word: list(word) for word in words}
    learned: list[str] = []
    for _ in range(merges):
        pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        for word, split in parts.items():
            for pair in itertools.pairwise(split):
                if not any(mark in "".join(pair) for mark in ".!?"):
                    pairs[pair] += words[word]
        if not pairs:
            break
        (left, right), _ = max(pairs.items(), key=lambda item: (item[1], item[0]))
        learned.append(left + right)
        for split in parts.values():
            at = 0
            while at < len(split) - 1:
                if split[at : at + 2] == [left, right]:
                    split[at : at + 2] = [left + right]
                at += 1
    learned += ["AI", "><", "\u2581\u2581", "\u2581\u2581\u2581\u2581"]  # as in the release: runs of spaces too
    characters = sorted(set("".join(words)) | set("AI<>0123456789,;:'\"-()=/"))
    return list(dict.fromkeys(learned)) + [c for c in characters if c not in learned]


def pieces(text: str = CORPUS) -> list[tuple[str, float, int]]:
    """(text, score, type) of every piece, laid out as in the release: fixed ones, learned ones, bytes between."""
    found = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    found += [(own, 0.0, USER) for own in USER_DEFINED]
    found += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    found += [(piece, -float(i), NORMAL) for i, piece in enumerate(learn(text)) if piece not in USER_DEFINED]
    return found


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | float | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    return _varint(number << 3) + _varint(value)


def sentencepiece_file(
    found: Sequence[tuple[str, float, int]], *, trainer: Mapping[int, Any] | None = None,
    normalizer: Mapping[int, Any] | None = None,
) -> bytes:  # fmt: skip
    """A `tokenizer.model`: BPE with byte fallback, and no normalisation, as in the release."""
    data = b"".join(field(1, field(1, text.encode()) + field(2, score) + field(3, kind)) for text, score, kind in found)
    trained = {3: 2, 4: len(found), 35: 1, 40: 0, 41: 1, 42: 2} | dict(trainer or {})
    normal = {1: b"identity", 2: b"", 3: 0, 4: 0} | dict(normalizer or {})
    data += field(2, b"".join(field(n, v) for n, v in trained.items()))
    return data + field(3, b"".join(field(n, v) for n, v in normal.items()))


# — the weights —


def weights(config: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    """Random bf16 tensors with the names of the release."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> Any:
        return (torch.randn(rows, columns, generator=generator) * columns**-0.5).bfloat16()

    def scale() -> Any:
        return (1 + 0.1 * torch.randn(hidden, generator=generator)).bfloat16()

    hidden, inner = config["hidden_size"], config["intermediate_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    state = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        state[f"{at}self_attn.q_proj.weight"] = matrix(hidden, hidden)
        state[f"{at}self_attn.k_proj.weight"] = matrix(keys, hidden)
        state[f"{at}self_attn.v_proj.weight"] = matrix(keys, hidden)
        state[f"{at}self_attn.o_proj.weight"] = matrix(hidden, hidden)
        state[f"{at}mlp.gate_proj.weight"] = matrix(inner, hidden)
        state[f"{at}mlp.up_proj.weight"] = matrix(inner, hidden)
        state[f"{at}mlp.down_proj.weight"] = matrix(hidden, inner)
        state[f"{at}input_layernorm.weight"] = scale()
        state[f"{at}post_attention_layernorm.weight"] = scale()
    state["model.norm.weight"] = scale()
    return state


# — the folder —


def config_json(vocabulary: int, **changes: Any) -> dict[str, Any]:
    """config.json as released (it names no model_type), with small sizes."""
    return {
        "_name_or_path": "openbmb/CPM-2B",
        "architectures": ["MiniCPMForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_minicpm.MiniCPMConfig",
            "AutoModelForCausalLM": "modeling_minicpm.MiniCPMForCausalLM",
        },
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "initializer_range": 0.1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.36.0",
        "use_cache": True,
        "vocab_size": vocabulary,
        "scale_emb": 12,
        "scale_depth": 1.4,
        **SIZES,
    } | changes


def build(folder: Path, *, seed: int = 0, shards: int = 1, **changes: Any) -> Path:
    """Make the folder. `shards`: files of weights; `changes`: of config.json, sizes among them."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    found = pieces()
    added = {text: len(found) + i for i, text in enumerate(ADDED)}
    config = config_json(len(found) + len(added), **changes)
    (folder / "tokenizer.model").write_bytes(sentencepiece_file(found))
    files: dict[str, Any] = {
        "config.json": config,
        "added_tokens.json": added,
        "generation_config.json": {"do_sample": True, "top_p": 0.8, "temperature": 0.8, "bos_token_id": 1,
                                   "eos_token_id": 2},
        "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        "tokenizer_config.json": tokenizer_config(added),
    }  # fmt: skip
    state = weights(config, seed)
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
    else:
        names = list(state)
        places = {name: f"pytorch_model-{i % shards + 1:05}-of-{shards:05}.bin" for i, name in enumerate(names)}
        for file in sorted(set(places.values())):
            torch.save({name: state[name] for name in names if places[name] == file}, folder / file)
        size = sum(tensor.nbytes for tensor in state.values())
        files["pytorch_model.bin.index.json"] = {"metadata": {"total_size": size}, "weight_map": places}
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")
    for name in ("configuration_minicpm.py", "modeling_minicpm.py"):
        (folder / name).write_text(TRAP, encoding="utf-8")
    return folder


def tokenizer_config(added: Mapping[str, int]) -> dict[str, Any]:
    """tokenizer_config.json as released."""
    flags = {"lstrip": False, "rstrip": False, "single_word": False}
    special = {str(i): {"content": text, "normalized": False, "special": True} | flags
               for i, text in enumerate(("<unk>", "<s>", "</s>"))}  # fmt: skip
    own = {str(i): {"content": text, "normalized": text != "<idle>", "special": False} | flags
           for text, i in added.items()}  # fmt: skip
    return {
        "add_bos_token": True, "add_eos_token": False, "add_prefix_space": False,
        "added_tokens_decoder": special | own,
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None, "legacy": True,
        "tokenizer_class": "LlamaTokenizer",
        "chat_template": "{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{'<用户>' + message['content'].strip() + '<AI>'}}{% else %}{{message['content'].strip()}}"
        "{% endif %}{% endfor %}",
    }  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(build(Path(sys.argv[1])))
