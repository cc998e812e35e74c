"""Sound for the tests of ears: speech from espeak-ng in this process, silence and noise. All int16 at EAR_RATE.

espeak-ng speaks the same every time, so that what is recognised is the same every time.
"""

from functools import cache
from pathlib import Path

import numpy as np

from duplex_runtime.speech.base import EAR_RATE
from duplex_runtime.speech.espeak import Espeak


@cache
def say(text: str, voice: str = "en-us", words_a_minute: int = 150) -> np.ndarray:
    """`text` spoken, with about 0.1 s of silence around it; do not write into it."""
    spoken = Espeak(voice, words_a_minute, pitch_range=50, pitch=50).say(text)
    at = np.arange(round(len(spoken.samples) * EAR_RATE / spoken.rate)) * spoken.rate / EAR_RATE
    # a plain average over the width of a new sample is filter enough for a test
    smooth = np.convolve(spoken.samples, np.full(2, 0.5), "same")
    sound = np.round(np.interp(at, np.arange(len(smooth)), smooth) * 0.6 * 32767).astype(np.int16)
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
