"""Model folders as GGUF: every number in its place, nothing guessed, nothing half-written."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import GraniteConfig, GraniteForCausalLM

from duplex_runtime.engine.network import Part
from duplex_runtime.errors import ModelError
from duplex_runtime.models import gguf as module
from duplex_runtime.models.gguf import K_QUANTS, LAYOUT_KEY, PLAIN, QUANTIZATIONS, TOKENIZER_KEY, write_gguf
from duplex_runtime.models.load import EMBEDDED_FOLDER

gguf = pytest.importorskip("gguf", reason="needs the extra: pip install -e '.[llamacpp]'")

EMBEDDED_TOKENIZER = EMBEDDED_FOLDER / "tokenizer.json"
MARKERS = ("<pad>", "<s>", "</s>", "<idle>", "<user>", "<model>")
SENTENCES = (
    "hello there, how are you?",
    "what is the capital of france?",
    "I'll say: 12345 and 1,000.5 %$#",
    "two  spaces,\ta tab\nand a line",
    "émigré naïve 🎉 你好，世界",
    "a",
)


pytestmark = pytest.mark.usefixtures("one_thread")


def byte_level() -> Tokenizer:
    """Byte-level BPE as the embedded model's, without merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: i for i, text in enumerate((*MARKERS, *letters, "Ġt", "he"))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "t"), ("h", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(m, special=True, normalized=False) for m in MARKERS])
    return tokenizer


def sentencepiece_like(normalizer: bool = True) -> Tokenizer:
    """BPE with byte fallback as Llama's and MiniCPM's, `<idle>` a token that is not special."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = ["▁h", "el", "lo", "ello", "▁hello", "▁t", "he", "▁the", "▁▁", "▁a", "re", "▁are"]
    pieces += [*words, *"▁abcdefghijklmnopqrstuvwxyz,.?!"]
    made = set(pieces)
    splits = [(word[:cut], word[cut:]) for word in words for cut in range(1, len(word))]
    tokenizer = Tokenizer(
        models.BPE(
            {text: i for i, text in enumerate(pieces)},
            [(a, b) for a, b in splits if a in made and b in made],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    if normalizer:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.add_special_tokens([AddedToken(m, special=True, normalized=False) for m in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens([AddedToken("<idle>", special=False, normalized=False)])
    return tokenizer


def make_folder(folder: Path, tokenizer: Tokenizer, dtype: torch.dtype = torch.float32, **options: Any) -> Path:
    """A tiny random model with a tokenizer.json."""
    torch.manual_seed(5)
    settings: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "embedding_multiplier": 12.0,
        "residual_multiplier": 0.7,
        "attention_multiplier": 0.25,
        "logits_scaling": 1.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
    }
    model = GraniteForCausalLM(GraniteConfig(**settings | options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(1 + 0.1 * torch.randn_like(parameter) if "norm" in name else 4 * parameter)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"), byte_level())


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """A folder that a test may break."""
    out = tmp_path / "model"
    out.mkdir()
    for path in prepared.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def change_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def tensors_of(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def value_of(path: Path, key: str) -> Any:
    field = gguf.GGUFReader(path).get_field(key)
    return None if field is None else field.contents()


def numbers(tensor: Any) -> np.ndarray:
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_every_number_of_the_checkpoint_stands_where_llama_cpp_reads_it(tmp_path: Path, kv_heads: int) -> None:
    folder = make_folder(tmp_path / "model", byte_level(), num_key_value_heads=kv_heads, tie_word_embeddings=False)
    written = write_gguf(folder, tmp_path / "out.gguf")
    source, found = load_file(folder / "model.safetensors"), tensors_of(tmp_path / "out.gguf")
    assert len(found) == len(source) == 2 * 9 + 3
    assert written.parameters == sum(t.numel() for t in source.values())
    assert written.num_bytes == (tmp_path / "out.gguf").stat().st_size
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "lm_head.weight": "output.weight",
        "model.norm.weight": "output_norm.weight",
        "model.layers.1.input_layernorm.weight": "blk.1.attn_norm.weight",
        "model.layers.1.post_attention_layernorm.weight": "blk.1.ffn_norm.weight",
        "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
        "model.layers.0.self_attn.o_proj.weight": "blk.0.attn_output.weight",
        "model.layers.1.mlp.gate_proj.weight": "blk.1.ffn_gate.weight",
        "model.layers.1.mlp.up_proj.weight": "blk.1.ffn_up.weight",
        "model.layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight",
    }
    for name, target in names.items():
        assert np.array_equal(found[target].data, source[name].numpy()), name
    for name, heads in (("q", 4), ("k", kv_heads)):
        ours = source[f"model.layers.0.self_attn.{name}_proj.weight"].numpy()
        theirs = found[f"blk.0.attn_{name}.weight"].data
        for head in range(heads):  # 16 numbers a head: 0 is rotated with 8, and they become neighbours
            start = head * 16
            assert np.array_equal(theirs[start : start + 16 : 2], ours[start : start + 8])
            assert np.array_equal(theirs[start + 1 : start + 16 : 2], ours[start + 8 : start + 16])


def test_a_tied_head_is_written_once_however_the_folder_has_it(folder: Path, tmp_path: Path) -> None:
    plain = write_gguf(folder, tmp_path / "a.gguf")
    change_weights(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert write_gguf(folder, tmp_path / "b.gguf").parameters == plain.parameters
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert "output.weight" not in tensors_of(tmp_path / "a.gguf")


def test_weights_in_several_files_are_one_model(folder: Path, tmp_path: Path) -> None:
    write_gguf(folder, tmp_path / "one.gguf")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    save_file({n: tensors[n] for n in names[:7]}, folder / "model-00001-of-00002.safetensors")
    save_file({n: tensors[n] for n in names[7:]}, folder / "model-00002-of-00002.safetensors")
    write_gguf(folder, tmp_path / "two.gguf")
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "two.gguf").read_bytes()


def test_bfloat16_weights_lose_nothing_in_bf16_nor_in_f32(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", byte_level(), torch.bfloat16)
    write_gguf(folder, tmp_path / "b.gguf", "bf16")
    write_gguf(folder, tmp_path / "f.gguf", "f32")
    half, full = tensors_of(tmp_path / "b.gguf"), tensors_of(tmp_path / "f.gguf")
    assert half["blk.0.ffn_up.weight"].tensor_type == gguf.GGMLQuantizationType.BF16
    assert all(np.array_equal(numbers(half[name]), numbers(full[name])) for name in full)


@pytest.mark.parametrize(
    (
        "quantization",
        "worst",
    ),  # largest error ÷ largest number of the tensor: half a step of the grid, or a little more
    [("f16", 0.0005), ("q8_0", 0.005), ("q5_1", 0.035), ("q5_0", 0.065), ("q4_1", 0.07), ("q4_0", 0.13)],
)
def test_a_quantized_file_is_near_the_checkpoint(
    prepared: Path, tmp_path: Path, quantization: str, worst: float
) -> None:
    write_gguf(prepared, tmp_path / "out.gguf", quantization)
    write_gguf(prepared, tmp_path / "full.gguf")
    found, full = tensors_of(tmp_path / "out.gguf"), tensors_of(tmp_path / "full.gguf")
    for name, exact in full.items():
        error = np.abs(numbers(found[name]) - exact.data).max() / np.abs(exact.data).max()
        assert error <= worst, name
        assert ("norm" in name) == (error == 0), name  # norms stay as they are, and nothing else does
    assert found["blk.0.attn_q.weight"].tensor_type.name.lower() == quantization
    embedding = found["token_embd.weight"].tensor_type.name.lower()
    assert embedding == (quantization if quantization == "f16" else "q8_0")


def test_the_header_says_what_the_config_says(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path / "model", byte_level(), num_key_value_heads=2, logits_scaling=9.0, pad_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
    )  # fmt: skip
    write_gguf(folder, tmp_path / "out.gguf", "q8_0")
    expected = {
        "general.architecture": "granite", "general.file_type": 7, "general.quantization_version": 2,
        "granite.context_length": 256, "granite.embedding_length": 64, "granite.feed_forward_length": 96,
        "granite.block_count": 2, "granite.attention.head_count": 4, "granite.attention.head_count_kv": 2,
        "granite.rope.dimension_count": 16, "granite.rope.freq_base": 5000.0,
        "granite.attention.layer_norm_rms_epsilon": 1e-5, "granite.attention.scale": 0.25,
        "granite.embedding_scale": 12.0, "granite.residual_scale": 0.7, "granite.logit_scale": 9.0,
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": False,
    }  # fmt: skip
    for key, value in expected.items():
        assert value_of(tmp_path / "out.gguf", key) == (pytest.approx(value) if isinstance(value, float) else value)


def test_the_embedded_models_tokenizer_goes_into_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    write_gguf(EMBEDDED_FOLDER / "duplex", out, "q8_0")
    values = json.loads(EMBEDDED_TOKENIZER.read_text(encoding="utf-8"))
    tokens = value_of(out, "tokenizer.ggml.tokens")
    assert {text: i for i, text in enumerate(tokens)} == values["model"]["vocab"]
    assert value_of(out, "tokenizer.ggml.merges") == [" ".join(pair) for pair in values["model"]["merges"]]
    types = value_of(out, "tokenizer.ggml.token_type")
    assert types == [gguf.TokenType.CONTROL] * 7 + [gguf.TokenType.NORMAL] * 4089
    assert value_of(out, "tokenizer.ggml.model") == "gpt2"
    assert value_of(out, TOKENIZER_KEY) == EMBEDDED_TOKENIZER.read_text(encoding="utf-8")
    assert value_of(out, LAYOUT_KEY) == "embedded"


@pytest.mark.parametrize("normalizer", [True, False])
def test_a_sentencepiece_tokenizer_gets_scores_bytes_and_names_for_empty_rows(tmp_path: Path, normalizer: bool) -> None:
    tokenizer = sentencepiece_like(normalizer)
    size = tokenizer.get_vocab_size()
    write_gguf(make_folder(tmp_path / "model", tokenizer, vocab_size=size + 5), tmp_path / "out.gguf")
    tokens, types, scores = (
        value_of(tmp_path / "out.gguf", f"tokenizer.ggml.{key}") for key in ("tokens", "token_type", "scores")
    )
    kind = {text: gguf.TokenType(types[i]) for i, text in enumerate(tokens)}
    assert len(tokens) == len(types) == len(scores) == size + 5
    assert (kind["<s>"], kind["</s>"], kind["<idle>"]) == (
        gguf.TokenType.CONTROL,
        gguf.TokenType.CONTROL,
        gguf.TokenType.USER_DEFINED,
    )
    assert (kind["<0x00>"], kind["<0xFF>"], kind["▁the"]) == (
        gguf.TokenType.BYTE,
        gguf.TokenType.BYTE,
        gguf.TokenType.NORMAL,
    )
    assert tokens[size:] == [f"[PAD{i}]" for i in range(size, size + 5)]
    assert set(types[size:]) == {gguf.TokenType.UNUSED}
    merged = [scores[tokens.index(text)] for text in ("▁h", "ello", "▁hello", "▁the", "▁are")]
    assert merged == sorted(merged, reverse=True) and len(set(merged)) == 5
    assert value_of(tmp_path / "out.gguf", LAYOUT_KEY) == "minicpm-duplex"


def test_a_sentence_piece_of_the_users_own_is_looked_for_in_plain_text(tmp_path: Path) -> None:
    tokenizer = sentencepiece_like()
    tokenizer.add_tokens([AddedToken("▁so▁be▁it", special=False, normalized=True)])
    write_gguf(make_folder(tmp_path / "model", tokenizer), tmp_path / "out.gguf")
    assert value_of(tmp_path / "out.gguf", "tokenizer.ggml.tokens")[-1] == " so be it"


def test_a_tokenizer_named_by_the_caller_is_taken(folder: Path, tmp_path: Path) -> None:
    elsewhere = (folder / "tokenizer.json").rename(tmp_path / "other.json")
    with pytest.raises(ModelError, match=r"expected a tokenizer\.json"):
        write_gguf(folder, tmp_path / "out.gguf")
    write_gguf(folder, tmp_path / "out.gguf", tokenizer=elsewhere)
    assert value_of(tmp_path / "out.gguf", LAYOUT_KEY) == "minicpm-duplex"  # it has <idle>, and no about.json


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "expected model_type to be 'granite', got 'llama'"),
        ({"hidden_act": "gelu"}, "expected hidden_act to be 'silu'"),
        ({"attention_bias": True}, "expected attention_bias to be False"),
        ({"mlp_bias": True}, "expected mlp_bias to be False"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "of the default type"),
        ({"rope_parameters": {"rope_theta": 1e4, "factor": 2.0}}, "default type only"),
        (
            {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}, "rope_scaling": {"factor": 2}},
            "default type",
        ),
        ({"rope_parameters": {"rope_theta": -1}}, "rope_theta to be a number over 0"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps to be a number over 0, got 'small'"),
        ({"logits_scaling": 0}, "logits_scaling to be a number over 0"),
        ({"residual_multiplier": float("nan")}, "residual_multiplier to be a number over 0"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers to be a whole number from 1 on"),
        ({"hidden_size": True}, "hidden_size to be a whole number"),
        ({"num_attention_heads": 3}, "num_attention_heads to be a divisor"),
        ({"num_key_value_heads": 3}, "num_attention_heads to be a divisor"),
        ({"head_dim": 32}, "head_dim to be 16 or absent"),
        ({"eos_token_id": [2, 3]}, "eos_token_id to be a whole number"),
        ({"bos_token_id": 9999}, "vocab_size to be larger than the ids"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings to be True or False"),
        ({"tie_word_embeddings": False}, "1 missing (lm_head.weight)"),
        ({"num_hidden_layers": 3}, "9 missing"),
        ({"num_hidden_layers": 1}, "9 unknown"),
        ({"intermediate_size": 128}, "expected model.layers.0.mlp.gate_proj.weight of shape (128, 64), got (96, 64)"),
    ],
)
def test_a_config_that_means_another_model_is_refused(
    folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    change_json(folder / "config.json", lambda values: values.update(changes))
    with pytest.raises(ModelError) as caught:
        write_gguf(folder, tmp_path / "out.gguf")
    assert message in str(caught.value)
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), "1 missing (model.norm.weight)"),
        (lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(64)}), "1 unknown (model.layers.0"),
        (lambda t: t["model.layers.1.mlp.down_proj.weight"][3].fill_(torch.nan), "mlp.down_proj.weight holds numbers"),
        (lambda t: t["model.norm.weight"].fill_(torch.inf), "model.norm.weight holds numbers that are not finite"),
        (lambda t: t.update({"model.norm.weight": torch.ones(64, dtype=torch.int64)}), "F32, F16 or BF16, got I64"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], Any], message: str
) -> None:
    change_weights(folder, change)
    with pytest.raises(ModelError) as caught:
        write_gguf(folder, tmp_path / "out.gguf")
    assert message in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def _set(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: Any) -> None:
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("model", "type", to="WordPiece"), "expected a BPE model, got 'WordPiece'"),
        (_set("model", "dropout", to=0.1), "a BPE model with dropout"),
        (_set("model", "continuing_subword_prefix", to="##"), "with continuing_subword_prefix"),
        (_set("pre_tokenizer", "use_regex", to=False), "without GPT-2's way of splitting"),
        (_set("pre_tokenizer", to={"type": "Whitespace"}), "got pre-tokenizer 'Whitespace'"),
        (_set("pre_tokenizer", to=None), "byte_fallback False"),
        (_set("normalizer", to={"type": "NFKC"}), "normalizer 'NFKC'"),
        (_set("model", "vocab", "more", to=9999), "it has the id 9999, but the model has"),
        (_set("model", "vocab", "less", to=-1), "it has the id -1"),
        (_set("model", "merges", to=[["h", "e"], ["q", "q"]]), "merge 1 ('q q') gives no token"),
        (_set("model", "merges", to=["h e x"]), "merge 0"),
        (_set("model", "merges", to=7), "not a tokenizer.json of a form that is known here (TypeError"),
        (_set("model", "vocab", to=None), "not a tokenizer.json of a form"),
        (_set("added_tokens", to=[{"content": "x"}]), "(KeyError: 'id')"),
        (_set("model", to=None), "not a tokenizer.json of a form"),
    ],
)
def test_a_tokenizer_that_would_cut_words_otherwise_is_refused(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change_json(folder / "tokenizer.json", change)
    with pytest.raises(ModelError) as caught:
        write_gguf(folder, tmp_path / "out.gguf")
    assert message in str(caught.value)


def test_a_tokenizer_smaller_than_a_model_of_ours_is_refused(folder: Path, tmp_path: Path) -> None:
    change_json(folder / "tokenizer.json", lambda v: (v["model"]["vocab"].popitem(), v["model"]["merges"].pop()))
    write_gguf(folder, tmp_path / "padded.gguf")
    (folder / "about.json").write_text("{}")
    with pytest.raises(ModelError, match="the tokenizer has 263 tokens, the model 264; they do not belong together"):
        write_gguf(folder, tmp_path / "out.gguf")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "expected a model folder with config.json"),
        ("config.json", b"{", "it is not JSON"),
        ("config.json", b"[]", "a JSON object"),
        ("config.json", b"\xff\xfe", "it is not JSON"),
        ("tokenizer.json", None, "expected a tokenizer.json"),
        ("tokenizer.json", b"{}", "not a tokenizer.json of a form"),
        ("model.safetensors", None, "expected weights in *.safetensors"),
        ("model.safetensors", b"\x00" * 40, "the weights do not load"),
        ("model.safetensors", b"", "the weights do not load"),
    ],
)
def test_files_that_are_missing_or_broken_are_named(
    folder: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        write_gguf(folder, tmp_path / "out.gguf")
    assert message in str(caught.value)


def test_a_truncated_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="the weights do not load"):
        write_gguf(folder, tmp_path / "out.gguf")


def test_an_unknown_quantization_names_the_known_ones(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no quantization 'int3': expected one of f32, .* q4_0, .* q4_k_m"):
        write_gguf(folder, tmp_path / "out.gguf", "int3")


@pytest.mark.parametrize("out", ["", "missing/out.gguf"])
def test_a_place_that_is_no_file_is_refused(folder: Path, tmp_path: Path, out: str) -> None:
    with pytest.raises(ModelError, match="expected the path of a file in a folder that exists"):
        write_gguf(folder, tmp_path / out)


def test_numbers_too_large_for_f16_are_refused(folder: Path, tmp_path: Path) -> None:
    change_weights(folder, lambda t: t["model.layers.0.mlp.up_proj.weight"][0].fill_(1e6))
    with pytest.raises(ModelError, match=r"mlp\.up_proj\.weight holds numbers too large for f16; choose bf16 or f32"):
        write_gguf(folder, tmp_path / "out.gguf", "f16")
    write_gguf(folder, tmp_path / "out.gguf", "bf16")


def test_rows_that_do_not_fill_blocks_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", byte_level(), intermediate_size=72)
    with pytest.raises(ModelError, match="rows of 72 numbers; q8_0 needs a multiple of 32: choose f32, f16 or bf16"):
        write_gguf(folder, tmp_path / "out.gguf", "q8_0")
    assert not (tmp_path / "out.gguf").exists()


# --- whole or not at all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(28, "No space left on device"), MemoryError])
def test_what_stops_in_the_middle_leaves_the_older_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    out = tmp_path / "out.gguf"
    write_gguf(folder, out, "bf16")
    before = out.read_bytes()
    done: list[str] = []
    write_tensor = module._write_tensor

    def stops(writer: Any, config: Any, weights: Any, source: str, kind: Any) -> None:
        if len(done) == 5:
            raise fault
        done.append(source)
        write_tensor(writer, config, weights, source, kind)

    monkeypatch.setattr(module, "_write_tensor", stops)
    with pytest.raises(ModelError if isinstance(fault, OSError) else fault) as caught:
        write_gguf(folder, out, "f32")
    if isinstance(fault, OSError):
        assert "could not be written (No space left on device)" in str(caught.value)
    assert len(done) == 5
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "out.gguf"]


def test_a_new_file_takes_the_older_ones_place_and_does_not_write_into_it(folder: Path, tmp_path: Path) -> None:
    out, opened = tmp_path / "out.gguf", tmp_path / "as-somebody-has-it-open"
    write_gguf(folder, out, "bf16")
    before = out.read_bytes()
    os.link(out, opened)  # a running engine maps the file
    write_gguf(folder, out, "f32")
    assert opened.read_bytes() == before != out.read_bytes()


def test_k_quants_without_llama_cpp_say_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from duplex_runtime.engine import llamacpp

    monkeypatch.setattr(llamacpp, "library", llamacpp.Library)  # as in a fresh process
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(ModelError, match=r"\[llamacpp\]"):
        write_gguf(folder, tmp_path / "out.gguf", "q4_k_m")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


# --- as llama.cpp reads it --------------------------------------------------------------------------------------------


def llama_logits(path: Path, ids: list[int]) -> torch.Tensor:
    """Logits after every id."""
    pytest.importorskip("llama_cpp", reason="needs the extra: pip install -e '.[llamacpp]'")
    from duplex_runtime.engine.llamacpp import LlamaCppNetwork

    with LlamaCppNetwork(path, slots=1, max_length=128, threads=1) as network:
        return network.forward([Part(0, 0, tuple(ids), tuple(range(len(ids))))])


def torch_logits(folder: Path, ids: list[int]) -> torch.Tensor:
    model = GraniteForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def some_ids(count: int, size: int) -> list[int]:
    draw = np.random.default_rng(1)
    return [1, *(int(i) for i in draw.integers(6, size, count - 1))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_key_value_heads": 2},
        {"num_key_value_heads": 1, "tie_word_embeddings": False},
        {"logits_scaling": 9.0, "residual_multiplier": 0.22, "attention_multiplier": 0.1, "embedding_multiplier": 3.0},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    ],
    ids=["plain", "two key heads", "one key head, own head", "other scales", "other rotation"],
)
def test_llama_cpp_computes_what_transformers_computes(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = make_folder(tmp_path / "model", byte_level(), **options)
    write_gguf(folder, tmp_path / "out.gguf")
    ids = some_ids(100, 264)
    ours, theirs = torch_logits(folder, ids), llama_logits(tmp_path / "out.gguf", ids)
    assert ours.std() > 0.05  # it says something that an error could change
    assert (ours - theirs).abs().max() / ours.std() < 1e-3


@pytest.fixture(scope="module")
def answer() -> tuple[list[int], int, torch.Tensor]:
    """A question and the model's own answer as ids, where the answer begins, and transformers' logits."""
    model = GraniteForCausalLM.from_pretrained(EMBEDDED_FOLDER / "turns", dtype=torch.float32).eval()
    ids = [1, 4, *Tokenizer.from_file(str(EMBEDDED_TOKENIZER)).encode("tell me about volcanoes.").ids, 5]
    start = len(ids)
    with torch.inference_mode():
        while len(ids) < start + 30:
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        return ids, start, model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_the_embedded_model_says_the_same_in_every_quantization(
    tmp_path: Path, quantization: str, answer: tuple[list[int], int, torch.Tensor]
) -> None:
    pytest.importorskip("llama_cpp", reason="needs the extra: pip install -e '.[llamacpp]'")
    ids, start, logits = answer
    write_gguf(EMBEDDED_FOLDER / "turns", tmp_path / "out.gguf", quantization)
    ours = torch.log_softmax(logits[start - 1 : -1], -1)
    theirs = torch.log_softmax(llama_logits(tmp_path / "out.gguf", ids)[start - 1 : -1], -1)
    divergence = float((ours.exp() * (ours - theirs)).sum(-1).mean())
    # about ten times what was measured: 4e-9, 8e-9, 3e-7, 1e-5; 6e-4 on average in 4 bits
    assert divergence < {"f32": 1e-7, "f16": 1e-7, "bf16": 5e-6, "q8_0": 2e-4}.get(quantization, 0.02)
    same = float((ours.argmax(-1) == theirs.argmax(-1)).float().mean())
    assert same == 1 if quantization in ("f32", "f16", "bf16", "q8_0") else same >= 0.9


def test_every_k_quant_is_smaller_than_eight_bits(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="needs the extra: pip install -e '.[llamacpp]'")
    sizes = [write_gguf(EMBEDDED_FOLDER / "turns", tmp_path / "x.gguf", q).num_bytes for q in ("q8_0", *K_QUANTS)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == len(sizes)
    assert value_of(tmp_path / "x.gguf", LAYOUT_KEY) == "embedded"
    assert value_of(tmp_path / "x.gguf", TOKENIZER_KEY) == EMBEDDED_TOKENIZER.read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.gguf"]


def test_quantizations_are_named_once() -> None:
    assert len(set(QUANTIZATIONS)) == len(PLAIN) + len(K_QUANTS)


def llama_tokens(path: Path, texts: tuple[str, ...]) -> list[list[int]]:
    llama_cpp = pytest.importorskip("llama_cpp", reason="needs the extra: pip install -e '.[llamacpp]'")
    from duplex_runtime.engine.llamacpp import library

    api = library().api
    options = llama_cpp.llama_model_default_params()
    options.vocab_only = True
    model = api.llama_model_load_from_file(os.fsencode(path), options)
    vocabulary, out = api.llama_model_get_vocab(model), []
    for text in texts:
        data = text.encode()
        room = (llama_cpp.llama_token * (len(data) + 8))()
        count = api.llama_tokenize(vocabulary, data, len(data), room, len(room), False, True)
        out.append(list(room[:count]))
    api.llama_model_free(model)
    return out


def test_llama_cpp_cuts_the_embedded_models_words_as_we_do(tmp_path: Path) -> None:
    write_gguf(EMBEDDED_FOLDER / "duplex", tmp_path / "out.gguf", "q4_0")
    tokenizer = Tokenizer.from_file(str(EMBEDDED_TOKENIZER))
    # llama.cpp puts no space before byte-level text: who sends text instead of ids begins it with one
    found = llama_tokens(tmp_path / "out.gguf", tuple(f" {text}" for text in SENTENCES))
    assert found == [tokenizer.encode(text).ids for text in SENTENCES]
    assert llama_tokens(tmp_path / "out.gguf", ("<s><user> so<idle></s><model>",)) == [[1, 4, *found_word(), 3, 2, 5]]


def found_word() -> list[int]:
    return list(Tokenizer.from_file(str(EMBEDDED_TOKENIZER)).encode("so").ids)


@pytest.mark.parametrize("normalizer", [True, False])
def test_llama_cpp_cuts_sentencepiece_words_as_we_do(tmp_path: Path, normalizer: bool) -> None:
    tokenizer = sentencepiece_like(normalizer)
    write_gguf(make_folder(tmp_path / "model", tokenizer), tmp_path / "out.gguf")
    texts = (*SENTENCES, "hello the are", "the  hello", "hello<idle>")
    expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert max(map(max, expected)) == tokenizer.token_to_id("<idle>")
    assert llama_tokens(tmp_path / "out.gguf", texts) == expected
