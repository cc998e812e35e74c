"""Sound for the tests of ears: speech from espeak-ng in this process, silence and noise. All int16 at EAR_RATE.

espeak-ng speaks the same every time, so that what is recognised is the same every time.
"""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

from duplex_runtime.speech.base import EAR_RATE

#: int callback(short *wav, int numsamples, espeak_EVENT *events)
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_SYNCHRONOUS, _RATE, _UTF8 = 2, 1, 1


@cache
def say(text: str, voice: str = "en-us", words_a_minute: int = 150) -> np.ndarray:
    """`text` spoken, with about 0.1 s of silence around it; do not write into it."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
    assert rate > 0, "espeak-ng does not start"
    pieces: list[np.ndarray] = []

    def take(samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(take)
    library.espeak_SetSynthCallback(callback)
    assert library.espeak_SetVoiceByName(voice.encode()) == 0
    library.espeak_SetParameter(_RATE, words_a_minute, 0)
    raw = text.encode()
    assert library.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, _UTF8, None, None) == 0
    library.espeak_Synchronize()
    library.espeak_SetSynthCallback(_CALLBACK())  # ours is gone once this returns
    whole = np.concatenate(pieces).astype(np.float64)
    at = np.arange(round(len(whole) * EAR_RATE / rate)) * rate / EAR_RATE
    # a plain average over the width of a new sample is filter enough for a test
    smooth = np.convolve(whole, np.full(2, 0.5), "same")
    sound = np.round(np.interp(at, np.arange(len(whole)), smooth) * 0.6).astype(np.int16)
    edge = silence(0.1)
    return np.concatenate([edge, sound, edge])


def silence(seconds: float) -> np.ndarray:
    """A quiet room: noise of a few steps, the same every time."""
    return noise(seconds, 4)


def noise(seconds: float, loudness: float, seed: int = 0) -> np.ndarray:
    """White noise with this standard deviation, in steps of int16."""
    samples = np.random.default_rng(seed).normal(0, loudness, round(seconds * EAR_RATE))
    return samples.clip(-32768, 32767).astype(np.int16)


def chunks(sound: np.ndarray, size: int = 320) -> list[np.ndarray]:
    """`sound` as it comes from a microphone: frames of 20 ms."""
    return [sound[i : i + size] for i in range(0, len(sound), size)]


def tiny_whisper(folder: Path) -> Path:
    """A folder with a Whisper of two layers and random weights, converted for ctranslate2: it hears nonsense, but does
    everything a real one does."""
    import ctranslate2
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(characters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>"]
    special += ["<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens(special)
    tokenizer.add_special_tokens([f"<|{0.02 * n:.2f}|>" for n in range(1501)])
    ids = {token: tokenizer.token_to_id(token) for token in special}
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=tokenizer.get_vocab_size(), d_model=64, num_mel_bins=80,
            encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=128, decoder_ffn_dim=128, max_target_positions=448,
            bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|endoftext|>"], pad_token_id=ids["<|endoftext|>"],
            decoder_start_token_id=ids["<|startoftranscript|>"],
        )
    ).eval()  # fmt: skip
    with torch.no_grad():  # a direction that only these tokens share: it says short words of these letters
        direction = torch.ones(64) / 2
        model.model.decoder.layer_norm.bias += direction
        for character in "aeiont\u0120\u0120":
            model.model.decoder.embed_tokens.weight[characters.index(character)] += direction
    settings = model.generation_config
    settings.alignment_heads = [[1, 0], [1, 1]]
    settings.lang_to_id = {"<|en|>": ids["<|en|>"]}
    settings.no_timestamps_token_id = ids["<|notimestamps|>"]
    settings.suppress_tokens = [ids[token] for token in special[1:]]
    settings.begin_suppress_tokens = [ids["<|endoftext|>"]]
    whole = folder / "transformers"
    model.save_pretrained(whole)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(whole)
    WhisperFeatureExtractor().save_pretrained(whole)
    converter = ctranslate2.converters.TransformersConverter(str(whole), copy_files=["tokenizer.json"])
    converter.convert(str(folder / "tiny"), quantization="int8")
    return folder / "tiny"
