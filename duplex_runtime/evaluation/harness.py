"""`duplex eval harness`: standard benchmarks through EleutherAI's lm-evaluation-harness, for both systems of a model.

    duplex eval harness --tasks duplex_facts                        60 questions that come with the package
    duplex eval harness --tasks arc_easy,hellaswag --limit 200      tasks of the harness, from the hub

`turns` gets a prompt as one message. `duplex` gets it as the paper did, in slices of a few words, each answered by
`<idle>`; a continuation is laid out over slices as the model would say it. Choices are scored by the words' log
likelihood, given that the model speaks; generation goes through the real conversations and the real engine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import LM

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.questions import said
from duplex_runtime.evaluation.together import play_together
from duplex_runtime.events import Enter, Input, UserText
from duplex_runtime.models.load import LoadedModel, default_sampling, load_systems
from duplex_runtime.slices import Slicing, ends_sentence

#: The person's words in a slice, as in the paper (4 to 6).
WORDS = 5
#: Sequences of one forward pass.
_TOGETHER = 16
_FACTS = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": str(Path(__file__).parent / "tasks" / "facts.jsonl")}},
    "test_split": "test",
    "doc_to_text": "{{question}}",
}
#: Tasks that come with the package: questions about the written corpus in wordings that training never saw.
TASKS: dict[str, dict[str, Any]] = {
    "duplex_facts": {
        **_FACTS,
        "task": "duplex_facts",
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
    "duplex_facts_said": {
        **_FACTS,
        "task": "duplex_facts_said",
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": [], "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    },
}


class DuplexLM(LM):  # type: ignore[misc]
    """A model of ours as the harness sees one. `cut`: contexts that were longer than the model remembers."""

    def __init__(self, model: LoadedModel, system: str) -> None:
        super().__init__()
        self.model, self.system = model, system
        self.slicing = Slicing.parse(2)
        self.cut = 0

    # — scoring —

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """(log likelihood, is it what the model would say) of each continuation behind its context."""
        rows = [self.lay(*request.args) for request in requests]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
        scores: list[tuple[float, bool]] = [(0.0, False)] * len(rows)
        for start in range(0, len(order), _TOGETHER):
            chosen = order[start : start + _TOGETHER]
            for number, score in zip(chosen, self._score([rows[i] for i in chosen]), strict=True):
                scores[number] = score
        return scores

    def lay(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """(ids, places): the stream, and where in it the continuation's tokens stand."""
        layout, words = self.model.layout, self.model.vocabulary
        said = words.encode(continuation.strip())
        size = self.slicing.model_tokens if self.system == "duplex" else max(1, len(said))
        chunks = [said[i : i + size] for i in range(0, len(said), size)]
        tail: list[int] = []
        places: list[int] = []
        for number, chunk in enumerate(chunks):
            if number:  # the next slice: nobody says anything, the model goes on
                tail += [layout.eos, *layout.user(words, "")]
            places += range(len(tail), len(tail) + len(chunk))
            tail += chunk
        head = self._head(context, self.model.memory.limit - len(tail))
        return head + tail, [len(head) + place for place in places]

    def _head(self, context: str, room: int) -> list[int]:
        """The context as the person's slices, up to where the model speaks; the oldest are left out without room."""
        layout, words = self.model.layout, self.model.vocabulary
        if self.system == "turns":
            whole = layout.user(words, context)
            head = layout.user(words, context, max(1, room - 1 - (len(whole) - len(words.encode(context)))))
            self.cut += len(head) < len(whole)
            return [layout.bos, *head]
        parts = context.split()
        texts = [" ".join(parts[i : i + WORDS]) for i in range(0, len(parts), WORDS)] or [""]
        if self.model.wait_for_end_mark and not ends_sentence(context):
            texts.append("")
        slices = [layout.user(words, text) + layout.close(()) for text in texts[:-1]] + [layout.user(words, texts[-1])]
        length, first = 1, len(slices)
        while first and length + len(slices[first - 1]) <= room:
            first -= 1
            length += len(slices[first])
        self.cut += first > 0
        return [layout.bos, *(i for ids in slices[min(first, len(slices) - 1) :] for i in ids)]

    @torch.inference_mode()
    def _score(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        network, idle = self.model.network, self.model.layout.idle
        longest = max(len(ids) for ids, _ in rows)
        padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows], device=network.device)
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows], device=network.device)
        logits = network(input_ids=padded, attention_mask=mask).logits.float()
        logits[..., idle] = -torch.inf  # given that it speaks
        chances = logits.log_softmax(-1)
        scores = []
        for row, (ids, places) in enumerate(rows):
            targets = torch.tensor([ids[p] for p in places], device=network.device)
            before = torch.tensor([p - 1 for p in places], device=network.device)
            found = chances[row, before]
            total = found.gather(1, targets[:, None]).sum().item() if places else 0.0
            scores.append((total, bool((found.argmax(-1) == targets).all())))
        return scores

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """A conversation has no text without somebody who asks for it."""
        raise BadInput("tasks that score plain text (perplexity) do not fit a model for conversations; leave them out")

    # — generation —

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """What is said to each prompt, up to a stop text."""
        sampling = default_sampling(self.model.name, 0)
        scripts = [self._script(request.args[0]) for request in requests]
        watches = play_together(self.model, self.system, scripts, self.slicing, sampling)
        texts = []
        for request, watch in zip(requests, watches, strict=True):
            text = " ".join(said(watch))
            for stop in request.args[1].get("until") or ():
                text = text.split(stop)[0] if stop else text
            texts.append(text)
        return texts

    def _script(self, prompt: str) -> list[tuple[float, Input]]:
        words = prompt.split()
        if self.system == "turns":
            return [(0.0, UserText(prompt)), (0.0, Enter())]
        period = self.slicing.period_seconds
        slices = [" ".join(words[i : i + WORDS]) + " " for i in range(0, len(words), WORDS)]
        return [(i * period, UserText(text)) for i, text in enumerate(slices)]


def run(name: str, tasks: str, limit: int | None) -> int:
    """The harness' tables, and one line of JSON: {task: {system: {metric: value}}}."""
    import lm_eval

    if limit is not None and limit < 1:
        raise BadInput(f"--limit: expected 1 or more, got {limit}")
    chosen = [TASKS.get(task.strip(), task.strip()) for task in tasks.split(",") if task.strip()]
    if not chosen:
        raise BadInput(f"--tasks: expected names of tasks such as {', '.join(TASKS)}, got {tasks!r}")
    report: dict[str, dict[str, Any]] = {}
    for system, model in load_systems(name).items():
        lm = DuplexLM(model, system)
        try:
            found = lm_eval.simple_evaluate(lm, tasks=chosen, limit=limit, bootstrap_iters=0, log_samples=False)
        except (KeyError, ValueError, OSError) as error:  # unknown tasks, data sets that do not load
            raise BadInput(f"--tasks {tasks}: the harness does not run them ({error})") from None
        for task, values in found["results"].items():
            numbers = {k.split(",")[0]: v for k, v in values.items() if isinstance(v, float) and "stderr" not in k}
            numbers["n"] = found["n-samples"][task]["effective"]
            report.setdefault(task, {})[system] = numbers
        if lm.cut:
            print(f"{system}: {lm.cut} contexts were longer than the model remembers and were cut", file=sys.stderr)
    for task, by_system in report.items():
        for system, numbers in by_system.items():
            shown = "  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items())
            print(f"{task:20} {system:8} {shown}")
    print(json.dumps(report))
    return 0
