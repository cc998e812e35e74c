"""Markers of chat models from their own templates. The templates are in the manner of well-known models."""

from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from duplex_runtime.errors import ModelError
from duplex_runtime.layout import Layout
from duplex_runtime.models.template import layout_from_template, pick_idle

LOOP = "{% for m in messages %}"
#: name: (template, special tokens, bos, eos, what generation_config.json may say)
CHATML = (
    LOOP + "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_SYSTEM = "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}" + CHATML
THINKING = CHATML.removesuffix("{% endif %}") + "{% if enable_thinking is false %}{{ '<t></t>' }}{% endif %}{% endif %}"
HEADERS = (
    "{{ bos_token }}" + LOOP + "{{ '<|head|>' + m['role'] + '<|/head|>\n\n' + m['content'] | trim + '<|eot|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
)
TURNS = (
    "{{ bos_token }}" + LOOP + "{{ '<turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\n' + m['content']"
    " + '</turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
)
BRACKETS = (
    LOOP + "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
HEADER_ENDS = (  # a turn ends where the next one begins
    "{{ '[gMASK]' }}" + LOOP + "{{ '<|' + m['role'] + '|>\n' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
NO_END = LOOP + "{{ ('Q: ' if m['role'] == 'user' else ' A:') + m['content'] }}{% endfor %}{{ ' A:' }}"


def byte_tokenizer(template: str | None, specials: Sequence[str] = (), **options: Any) -> PreTrainedTokenizerFast:
    """Every byte a token, and special tokens behind them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **options)
    tokenizer.chat_template = template
    return tokenizer


def layout_of(tokenizer: Any, ends: Sequence[str] = (), rows: int = 0) -> Layout:
    return layout_from_template(tokenizer, rows or len(tokenizer) + 8, set(tokenizer.convert_tokens_to_ids(list(ends))))


def as_text(tokenizer: Any, layout: Layout) -> tuple[str, str, str, str]:
    """(bos, user marker, model marker, eos)."""
    parts = ((layout.bos,), layout.user_marker, layout.model_marker, (layout.eos,))
    texts = [tokenizer.decode(list(ids)) for ids in parts]
    return texts[0], texts[1], texts[2], texts[3]


CHATML_MARKERS = ("\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>")
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize(
    ("template", "specials", "options", "ends", "expected"),
    [
        (CHATML, CHATML_TOKENS, {"eos_token": "<|im_end|>"}, (), ("<|im_end|>", *CHATML_MARKERS)),
        (WITH_SYSTEM, CHATML_TOKENS, {"eos_token": "<|im_end|>"}, (), ("<|im_end|>", *CHATML_MARKERS)),
        # the end of a text is its eos_token; only generation_config.json names the end of a turn
        (CHATML, CHATML_TOKENS, {"eos_token": "<|endoftext|>"}, ("<|im_end|>",), ("<|im_end|>", *CHATML_MARKERS)),
        (
            THINKING, CHATML_TOKENS, {"eos_token": "<|im_end|>"}, (),
            ("<|im_end|>", CHATML_MARKERS[0], CHATML_MARKERS[1] + "<t></t>", "<|im_end|>"),
        ),
        (
            HEADERS, ("<|begin|>", "<|head|>", "<|/head|>", "<|eot|>"),
            {"bos_token": "<|begin|>", "eos_token": "<|eot|>"}, (),
            ("<|begin|>", "<|head|>user<|/head|>\n\n", "<|eot|><|head|>assistant<|/head|>\n\n", "<|eot|>"),
        ),
        (
            TURNS, ("<bos>", "<eos>", "<turn>", "</turn>"), {"bos_token": "<bos>", "eos_token": "<eos>"}, ("</turn>",),
            ("<bos>", "\n<turn>user\n", "</turn>\n<turn>model\n", "</turn>"),
        ),
        (
            BRACKETS, ("<s>", "</s>"), {"bos_token": "<s>", "eos_token": "</s>"}, (),
            ("</s>", "<s>[INST] ", " [/INST]", "</s>"),
        ),
        (
            HEADER_ENDS, ("[gMASK]", "<|user|>", "<|assistant|>", "<|endoftext|>"), {"eos_token": "<|endoftext|>"},
            ("<|user|>",), ("<|user|>", "\n", "<|assistant|>\n", "<|user|>"),
        ),
        (NO_END, ("</s>",), {"eos_token": "</s>"}, (), ("</s>", "Q: ", " A:", "</s>")),
    ],
    ids=["chatml", "system", "ends", "thinking", "headers", "turns", "brackets", "header_ends", "no_end"],
)  # fmt: skip
def test_markers_stand_between_the_words(
    template: str, specials: Sequence[str], options: Any, ends: Sequence[str], expected: tuple[str, str, str, str]
) -> None:
    tokenizer = byte_tokenizer(template, specials, **options)
    layout = layout_of(tokenizer, ends)
    assert as_text(tokenizer, layout) == expected
    assert layout.idle not in (layout.bos, layout.eos, *layout.user_marker, *layout.model_marker)


@pytest.mark.parametrize("template", [CHATML, HEADERS, TURNS, BRACKETS], ids=["chatml", "headers", "turns", "brackets"])
def test_a_talk_laid_out_reads_as_the_template_writes_it(template: str) -> None:
    """From the first word on: what the template puts before it, such as a system text, is left out."""
    specials = [*CHATML_TOKENS, "<|head|>", "<|/head|>", "<|eot|>", "<turn>", "</turn>", "<s>", "</s>"]
    ends = ("<|im_end|>", "<|eot|>", "</turn>")
    tokenizer = byte_tokenizer(template, specials, bos_token="<s>", eos_token="</s>")
    layout = layout_of(tokenizer, ends)
    messages = ["who are you", "a model", "since when", "for a while", "good"]
    stream = [layout.bos]
    for at, text in enumerate(messages):
        words = tokenizer.encode(text, add_special_tokens=False)
        stream += [*layout.user_marker, *words, *layout.model_marker] if at % 2 == 0 else layout.close(words)
    talk = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(messages)]
    written = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    laid_out = tokenizer.decode(stream)
    # what a template puts around an answer for looks, the model says itself
    assert tidy(laid_out[laid_out.index("who") :]) == tidy(written[written.index("who") :])


def tidy(text: str) -> str:
    return text.replace("[/INST] ", "[/INST]").replace(" </s>", "</s>")


def test_a_template_without_a_generation_prompt_is_as_good() -> None:
    template = CHATML[: CHATML.index("{% if add_generation_prompt")]
    tokenizer = byte_tokenizer(template, CHATML_TOKENS, eos_token="<|im_end|>")
    assert as_text(tokenizer, layout_of(tokenizer)) == ("<|im_end|>", *CHATML_MARKERS)


def test_a_space_that_belongs_to_a_word_is_not_in_the_marker() -> None:
    """Tokenizers that put a space before a text write it with the person's words."""
    words = ("▁[INST]", "▁[/INST]", "▁zebra", "▁violin", "▁copper", "▁lantern", "▁orchid", "▁", "▁hello", "<unk>")
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<s>", "</s>")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = BRACKETS.replace("+ ' ' + eos_token", "+ eos_token")
    layout = layout_of(tokenizer)
    named = [tokenizer.convert_ids_to_tokens(list(ids)) for ids in (layout.user_marker, layout.model_marker)]
    assert named == [["<s>", "▁[INST]"], ["▁[/INST]"]]
    assert tokenizer.encode("hello", add_special_tokens=False) == [words.index("▁hello")]


# — what cannot be done —


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        ("", "no chat template"),
        ("{{ messages[0]['content'] }}", "every turn"),
        (LOOP + "{{ m['content'] | upper }}{% endfor %}", "every turn"),
        (LOOP + "{{ m['content'] + m['content'] }}{% endfor %}", "every turn"),
        (LOOP + "{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}", "every turn"),
        (LOOP + "{{ '[Round ' ~ loop.index ~ ']' + m['content'] }}{% endfor %}", "unlike the first"),
        (LOOP + "{{ m['content'] }}{% endfor %}", "fixed markers"),
        ("{{ raise_exception('only with tools') }}", "only with tools"),
        ("{{ messages[99]['content'] }}", "does not run"),
        ("{% for %}", "does not run"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "does not run"),
    ],
)
def test_a_template_that_is_no_stream_of_pairs_is_refused_in_words(template: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        layout_of(byte_tokenizer(template, ["</s>"], eos_token="</s>"))


def test_a_tokenizer_without_an_end_is_refused() -> None:
    with pytest.raises(ModelError, match="eos_token"):
        layout_of(byte_tokenizer(NO_END))


def test_a_tokenizer_that_does_not_tell_where_tokens_lie_is_refused() -> None:
    class Slow:
        """As those that are written in Python."""

        is_fast = False
        chat_template = CHATML

        def apply_chat_template(self, messages: Any, **_: Any) -> str:
            return "".join(m["content"] for m in messages)

    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        layout_from_template(Slow(), 100, set())


# — the token for silence —


def idle(specials: Sequence[str], rows: int = 0, used: Sequence[str] = ()) -> str | int:
    tokenizer = byte_tokenizer(None, specials)
    number = pick_idle(tokenizer, rows or len(tokenizer), set(tokenizer.convert_tokens_to_ids(list(used))))
    text = tokenizer.convert_ids_to_tokens(number)
    return text if text is not None else number


@pytest.mark.parametrize(
    ("specials", "expected"),
    [
        (("<s>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"), "<|reserved_special_token_0|>"),
        (("<unused0>", "<unused1>", "<s>"), "<unused0>"),
        (("<s>", "[unused7]"), "[unused7]"),
        (("<s>", "<|placeholder1|>"), "<|placeholder1|>"),
        (("<unused0>", "<idle>"), "<idle>"),  # then it knows silence by name
    ],
)
def test_silence_is_a_token_that_nobody_says(specials: Sequence[str], expected: str) -> None:
    assert idle(specials) == expected


def test_a_reserved_token_that_the_template_uses_is_left_alone() -> None:
    assert idle(("<unused0>", "<unused1>"), used=("<unused0>",)) == "<unused1>"


def test_without_a_reserved_token_it_is_a_row_that_no_token_has() -> None:
    assert idle(("<s>",), rows=300) == 299


def test_without_any_it_is_a_rare_token_that_is_not_special() -> None:
    tokenizer = byte_tokenizer(None, ("<s>", "</s>"))
    number = pick_idle(tokenizer, len(tokenizer), {0, 255})
    assert number == 254
    assert number not in tokenizer.all_special_ids


def test_a_reserved_token_without_a_row_is_no_token() -> None:
    """Some tokenizers have more tokens than their model."""
    tokenizer = byte_tokenizer(None, ("<s>", "<unused0>"))
    assert pick_idle(tokenizer, 257, set()) < 256


def test_a_vocabulary_that_is_all_in_use_is_refused() -> None:
    tokenizer = byte_tokenizer(None)
    with pytest.raises(ModelError, match="no token left"):
        pick_idle(tokenizer, len(tokenizer), set(range(len(tokenizer))))
