"""A model in a GGUF file behind `Network`, computed by llama.cpp: the quickest way on a CPU, 4-bit weights included.

    with LlamaCppNetwork(Path("duplex-q8_0.gguf"), slots=16, max_length=1000) as network:
        logits = network.forward([Part(slot=0, start=0, ids=(1, 4, 17, 5), keep=(3,))])

`write_gguf` of models/gguf.py makes the file. Needs the extra `[llamacpp]`: llama.cpp's C functions as
llama-cpp-python binds them, none of that package's own classes.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.engine.network import Part
from duplex_runtime.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import torch

#: New tokens in one call of llama.cpp; a longer pass is cut. It reserves memory for so many rows of logits.
_BATCH = 256
#: llama.cpp rounds a cache up to so many tokens.
_STEP = 256

_F32, _F16 = 0, 1  # types in ggml's numbers; 0 is also the `general.file_type` of a file all in float32
_ERROR = 4  # ggml's log level
_NO_ROOM = 1  # what llama_decode gives when the cache is full


class Library:
    """llama.cpp's C functions (`api.llama_…`), their log silenced; its errors wait in `lines`."""

    def __init__(self) -> None:
        try:
            import llama_cpp
        except (ImportError, OSError, RuntimeError) as error:  # the last two: its shared library does not load
            raise ModelError(
                f'llama.cpp is not installed ({error}): run `pip install -e ".[llamacpp]"`, which builds it'
            ) from None
        self.api: Any = llama_cpp
        self.lines: deque[str] = deque(maxlen=20)
        self._callback = llama_cpp.llama_log_callback(self._log)  # held here: C has only its address
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()

    def _log(self, level: int, text: bytes | None, _: object) -> None:
        line = (text or b"").decode("utf-8", "replace").strip()
        if level == _ERROR and line:
            self.lines.append(line)

    def reason(self) -> str:
        """llama.cpp's first error since `lines` was cleared, for a message: the later ones only follow from it."""
        line = self.lines[0] if self.lines else "llama.cpp gave no reason"
        self.lines.clear()
        return line


@cache
def library() -> Library:
    """The one of this process, for llama.cpp has one log for the process. Raises ModelError without the extra."""
    return Library()


class LlamaCppNetwork:
    """See the module. Each slot has a cache of its own in llama.cpp, so no conversation looks through another's.

    threads: by default as many as torch uses. vocabulary: how many tokens the caller's tokenizer has; more than the
    model's are refused. A float32 file keeps float32 keys and values, to compute what torch does; others keep
    float16. The memory of all slots is taken at once, and given back by `free`. Not thread-safe: one thread owns it.
    Raises ModelError for a file that does not load, for a model that cannot forget its last tokens, and for what
    does not fit.
    """

    def __init__(
        self, path: Path, slots: int, max_length: int, threads: int | None = None, vocabulary: int | None = None
    ) -> None:
        import torch

        llama = library()
        self._library, self._api = llama, llama.api
        self.path, self.slots, self.max_length = path, slots, max_length
        self.threads = torch.get_num_threads() if threads is None else threads
        most = self._api.llama_max_parallel_sequences()
        if not 1 <= slots <= most or max_length < 1 or self.threads < 1:
            raise ModelError(
                f"llama.cpp takes 1 to {most} slots of at least one token, and at least one thread; "
                f"got {slots} slots of {max_length} tokens and {self.threads} threads"
            )
        # llama.cpp aborts the process where a batch has no room for a token of every slot
        self._capacity = min(max(_BATCH, slots), slots * max_length)
        with contextlib.ExitStack() as stack:
            self._model = self._load_model(stack)
            if vocabulary is not None and vocabulary > self.vocabulary_size:
                raise ModelError(
                    f"{path}: the tokenizer has {vocabulary} tokens, the model {self.vocabulary_size}; "
                    "they do not belong together"
                )
            self._context = self._make_context(stack)
            self._memory = self._api.llama_get_memory(self._context)
            self._release = weakref.finalize(self, stack.pop_all().close)
        self._batch = _Batch(self._api, self._capacity)
        self._held = [0] * slots  # how many tokens llama.cpp has of each slot

    def _load_model(self, stack: contextlib.ExitStack) -> Any:
        api, llama = self._api, self._library
        if not self.path.is_file():
            raise ModelError(f"{self.path}: expected a GGUF file; `duplex convert --gguf` makes one")
        options = api.llama_model_default_params()
        options.n_gpu_layers = 0
        llama.lines.clear()
        model = api.llama_model_load_from_file(os.fsencode(self.path), options)
        if not model:
            raise ModelError(
                f"{self.path}: llama.cpp does not load it ({llama.reason()}); write it again from the model's folder"
            )
        stack.callback(api.llama_model_free, model)
        for other in (api.llama_model_is_recurrent, api.llama_model_is_hybrid, api.llama_model_has_encoder):
            if other(model):
                raise ModelError(f"{self.path}: expected a model that keeps a key and a value for every token")
        self.vocabulary_size: int = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
        return model

    def _make_context(self, stack: contextlib.ExitStack) -> Any:
        api = self._api
        exact = self.metadata("general.file_type") == str(_F32)
        options = api.llama_context_default_params()
        tokens = self.slots * math.ceil(self.max_length / _STEP) * _STEP
        self._require_memory(tokens * (4 if exact else 2))
        options.n_ctx, options.n_seq_max = tokens, self.slots
        options.n_batch = options.n_ubatch = self._capacity
        options.n_threads = options.n_threads_batch = self.threads
        # one cache for all slots would take a ragged batch in one go, but have every token look at every slot's keys
        options.kv_unified = False
        options.type_k = options.type_v = _F32 if exact else _F16
        # its flash attention rounds to float16 on the way, and an append of a few words takes longer by it
        options.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        options.no_perf = True
        self._library.lines.clear()
        context = api.llama_init_from_model(self._model, options)
        if context:
            stack.callback(api.llama_free, context)
        if not context or api.llama_n_ctx_seq(context) < self.max_length:
            raise ModelError(
                f"{self.path}: llama.cpp makes no cache of {self.slots} slots of {self.max_length} tokens "
                f"({self._library.reason()}); ask for fewer"
            )
        return context

    def _require_memory(self, numbers: int) -> None:
        """`numbers`: bytes of the cache for each of its keys' and values' numbers. llama.cpp takes what it is asked
        for, and the system would end the process."""
        import psutil  # comes with accelerate

        api, model = self._api, self._model
        head_size = api.llama_model_n_embd(model) // api.llama_model_n_head(model)
        needed = 2 * numbers * api.llama_model_n_layer(model) * api.llama_model_n_head_kv(model) * head_size
        if needed > (free := psutil.virtual_memory().available):
            raise ModelError(
                f"{self.slots} slots of {self.max_length} tokens need {needed / 1e9:.1f} GB for keys and values, "
                f"{free / 1e9:.1f} GB are free: ask for fewer"
            )

    def metadata(self, key: str) -> str | None:
        """A value of the file's header as text; None where it has none, or a list."""
        if self._model is None:
            raise ValueError("this network was freed")
        name = key.encode()
        length = self._api.llama_model_meta_val_str(self._model, name, None, 0)
        if length < 0:
            return None
        buffer = ctypes.create_string_buffer(length + 1)
        self._api.llama_model_meta_val_str(self._model, name, buffer, length + 1)
        return buffer.value.decode("utf-8", "replace")

    def forward(self, parts: Sequence[Part]) -> torch.Tensor:
        """One pass; see `Network`. Quickest with the parts in the order of their slots.

        Raises ValueError for parts that no engine should ask for, ModelError for what llama.cpp refuses. After an
        error the slots hold what lay before each `start`, or more.
        """
        self._check(parts)
        try:
            for part in parts:
                if part.start < self._held[part.slot]:
                    self._forget(part)
            return self._decode(parts)
        except BaseException:
            # of a pass that broke off, llama.cpp may have kept a piece
            for part in parts:
                with contextlib.suppress(ModelError):
                    self._forget(part)
            raise

    def forget(self, slot: int) -> None:
        """Its cache is taken as a whole: there is nothing to give back."""

    def _check(self, parts: Sequence[Part]) -> None:
        if self._context is None:
            raise ValueError("this network was freed")
        if len({part.slot for part in parts}) != len(parts):
            raise ValueError("expected each part to be of another slot")
        for part in parts:
            if not 0 <= part.slot < self.slots:
                raise ValueError(f"expected a slot from 0 to {self.slots - 1}, got {part.slot}")
            held, count = self._held[part.slot], len(part.ids)
            if not count or not 0 <= part.start <= held:
                raise ValueError(
                    f"slot {part.slot} holds {held} tokens; expected ids that follow one of them, "
                    f"got {count} ids for position {part.start}"
                )
            if part.keep and not 0 <= part.keep[0] <= part.keep[-1] < count:
                raise ValueError(f"expected logits after one of {count} ids, got the offsets {part.keep}")
            if part.start + count > self.max_length:
                raise ModelError(f"a slot holds {self.max_length} tokens; {count} more do not fit behind {part.start}")

    def _forget(self, part: Part) -> None:
        """What the slot holds from the part's start on."""
        if not self._api.llama_memory_seq_rm(self._memory, part.slot, part.start, -1):
            raise ModelError(f"{self.path}: expected a model that can forget its last tokens, as full attention can")
        self._held[part.slot] = part.start

    def _decode(self, parts: Sequence[Part]) -> torch.Tensor:
        import torch

        api, batch = self._api, self._batch
        self._library.lines.clear()
        out = torch.empty(sum(len(part.keep) for part in parts), self.vocabulary_size)
        address, row_bytes = out.data_ptr(), 4 * self.vocabulary_size
        for rows in batch.pieces(parts):
            if status := api.llama_decode(self._context, batch.struct):
                what = "its cache is full" if status == _NO_ROOM else self._library.reason()
                raise ModelError(f"{self.path}: llama.cpp did not read {batch.struct.n_tokens} tokens ({what})")
            if rows:  # they stand in the order of the batch, until the next call
                ctypes.memmove(address, api.llama_get_logits(self._context), rows * row_bytes)
                address += rows * row_bytes
        for part in parts:
            self._held[part.slot] = part.start + len(part.ids)
        return out

    def free(self) -> None:
        """Give all memory back; a second call does nothing."""
        self._model = self._context = None
        self._release()

    def __enter__(self) -> LlamaCppNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()


class _Batch:
    """The arrays from which llama.cpp reads new tokens: allocated once, filled for each call. `struct` points there."""

    def __init__(self, api: Any, capacity: int) -> None:
        import numpy as np

        self.capacity = capacity
        self._ids, self._positions, self._slots = (np.zeros(capacity, np.int32) for _ in range(3))
        self._wanted = np.zeros(capacity, np.int8)
        # a token of llama.cpp may belong to several sequences, so it wants a count and a list for each: ours have one
        self._counts = np.ones(capacity, np.int32)
        self._lists = self._slots.ctypes.data + self._slots.itemsize * np.arange(capacity, dtype=np.uintp)
        types = dict(api.llama_batch._fields_)

        def at(name: str, array: np.ndarray) -> Any:
            return ctypes.cast(array.ctypes.data, types[name])

        self.struct = api.llama_batch(
            n_tokens=0,
            token=at("token", self._ids),
            pos=at("pos", self._positions),
            n_seq_id=at("n_seq_id", self._counts),
            seq_id=at("seq_id", self._lists),
            logits=at("logits", self._wanted),
        )

    def pieces(self, parts: Sequence[Part]) -> Iterator[int]:
        """Fill in the tokens of `parts`, as many as fit at a time; yields how many logits are wanted of them."""
        ids = [i for part in parts for i in part.ids]
        positions = [p for part in parts for p in range(part.start, part.start + len(part.ids))]
        slots = [part.slot for part in parts for _ in part.ids]
        wanted, offset = [0] * len(ids), 0
        for part in parts:
            for k in part.keep:
                wanted[offset + k] = 1
            offset += len(part.ids)
        for start in range(0, len(ids), self.capacity):
            end = min(start + self.capacity, len(ids))
            count = self.struct.n_tokens = end - start
            self._ids[:count] = ids[start:end]
            self._positions[:count] = positions[start:end]
            self._slots[:count] = slots[start:end]
            self._wanted[:count] = wanted[start:end]
            yield sum(wanted[start:end])


class BareSlice:
    """llama.cpp driven by as little Python as can be, greedily, for benchmarks: what `LlamaCppNetwork` is held against.

    Of the same file, with the same kind of cache, behind `past`. One sequence, one model: use it as a context manager.
    """

    def __init__(self, path: Path, past: Sequence[int], threads: int, more: int = 128) -> None:
        """more: the most tokens that `run` may put behind `past`."""
        self._network = LlamaCppNetwork(path, 1, len(past) + more, threads)
        self._network.forward([Part(0, 0, tuple(past), ())])
        self._past = len(past)

    def run(self, words: Sequence[int], num_tokens: int) -> list[int]:
        """One slice behind `past`: append `words`, read `num_tokens` greedy tokens; then only `past` is kept.

        Each token but the last goes through a pass of its own, as in an engine; no token makes one pass, to listen.
        """
        import numpy as np

        network = self._network
        api, context, batch = network._api, network._context, network._batch.struct
        if not 0 < len(words) <= network._batch.capacity:
            raise ValueError(f"expected 1 to {network._batch.capacity} new tokens, got {len(words)}")
        api.llama_memory_seq_rm(network._memory, 0, self._past, -1)
        for index, token in enumerate(words):
            batch.token[index], batch.pos[index], batch.logits[index] = token, self._past + index, 0
        batch.n_tokens, position, said = len(words), self._past + len(words), list[int]()
        batch.logits[len(words) - 1] = 1
        while True:
            if status := api.llama_decode(context, batch):
                raise ModelError(f"llama_decode gave {status}; are {network.max_length} tokens too few?")
            logits = np.ctypeslib.as_array(api.llama_get_logits(context), (network.vocabulary_size,))
            if len(said) == num_tokens:
                return said
            said.append(int(logits.argmax()))
            if len(said) == num_tokens:
                return said
            batch.token[0], batch.pos[0], batch.logits[0], batch.n_tokens = said[-1], position, 1, 1
            position += 1

    def __enter__(self) -> BareSlice:
        return self

    def __exit__(self, *_: object) -> None:
        self._network.free()
