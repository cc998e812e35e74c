"""The embedded model's own vocabulary: byte-level BPE learned from the corpus, markers first.

python -m duplex_runtime.alignment.tokenizer      writes models/embedded/tokenizer.json
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.noise import as_typed

#: In the order of `layout.EMBEDDED`: pad, bos, eos, idle, user, model, keep.
SPECIAL = ["<pad>", "<s>", "</s>", "<idle>", "<user>", "<model>", "<keep>"]


def train_tokenizer(size: int = 4096, seed: int = 0) -> Tokenizer:
    """Learn `size` tokens; every byte is one of them, so that no input is out of vocabulary."""
    corpus, rng = load(), Random(seed)
    source = Source(corpus)
    texts = [e.answer for e in (*corpus.facts, *corpus.talk, *corpus.long, *source.questions) for _ in range(3)]
    for _ in range(20_000):
        question, exchange = source.draw(rng)
        texts.append(as_typed(question, rng).lower())
        if exchange.kind in ("story", "sum", "count", "unknown"):
            texts.append(exchange.answer)
    texts += [p.lower() for ps in corpus.phrases.values() for p in ps for _ in range(5)]
    for values in corpus.unknown["slots"].values():
        texts += [v.lower() for v in values for _ in range(4)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=3,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "models" / "embedded" / "tokenizer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    train_tokenizer().save(str(path))
    print(path)
