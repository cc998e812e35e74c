import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from web_fakes import save_tiny_model, tiny_loaded

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.harness import TASKS, WORDS, DuplexLM
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.models.load import LoadedModel

pytestmark = pytest.mark.usefixtures("one_thread")
FACTS = Path(TASKS["duplex_facts"]["dataset_kwargs"]["data_files"]["test"])


class Request(NamedTuple):
    args: tuple[Any, ...]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny_loaded()


def plain(model: LoadedModel, ids: list[int], places: list[int]) -> float:
    """The words' log likelihood, one sequence by itself, without `<idle>`."""
    with torch.inference_mode():
        logits = model.network(input_ids=torch.tensor([ids])).logits[0].float().clone()
        logits[:, EMBEDDED.idle] = -torch.inf
    return sum(logits[p - 1].log_softmax(-1)[ids[p]].item() for p in places)


@pytest.mark.parametrize("system", ["turns", "duplex"])
def test_choices_are_scored_as_by_one_plain_pass_each(model: LoadedModel, system: str) -> None:
    lm = DuplexLM(model, system)
    questions = [
        "What is the capital of France?",
        "and who wrote it",
        "Tell me about whales and the deep blue sea now.",
    ]
    requests = [Request((q, f" {a}")) for q in questions for a in ("Paris.", "It is a long answer about a whale " * 4)]
    for request, (score, _) in zip(requests, lm.loglikelihood(requests), strict=True):
        assert score == pytest.approx(plain(model, *lm.lay(*request.args)), abs=1e-4)


def test_the_greedy_continuation_is_known_as_such(model: LoadedModel) -> None:
    lm = DuplexLM(model, "turns")
    ids, _ = lm.lay("hello there", "x")
    with torch.inference_mode():
        logits = model.network(input_ids=torch.tensor([ids[:-1]])).logits[0, -1]
        logits[EMBEDDED.idle] = -torch.inf
    best = model.vocabulary.decode([int(logits.argmax())])
    if model.vocabulary.encode(best.strip()) == [int(logits.argmax())]:
        assert lm.loglikelihood([Request(("hello there", best))])[0][1]
    assert not lm.loglikelihood([Request(("hello there", "zebra crossing xylophone"))])[0][1]


def test_turns_get_one_message_and_duplex_gets_slices(model: LoadedModel) -> None:
    words = model.vocabulary
    question = "tell me what you know about the capital of France?"
    ids, places = DuplexLM(model, "turns").lay(question, "Paris.")
    assert ids.count(EMBEDDED.user_marker[0]) == 1
    assert words.decode([ids[p] for p in places]).strip() == "Paris."
    ids, places = DuplexLM(model, "duplex").lay(question, "Paris.")
    assert ids.count(EMBEDDED.user_marker[0]) == len(question.split()) / WORDS == 2
    assert ids.count(EMBEDDED.idle) == 1  # it listened to the first slice
    ids, _ = DuplexLM(model, "duplex").lay(question[:-1], "Paris.")
    assert ids.count(EMBEDDED.idle) == 3  # and to the second, which has no end mark; then nobody spoke


def test_a_long_continuation_goes_on_over_slices(model: LoadedModel) -> None:
    said = "one two three four five six seven eight nine ten eleven twelve"
    ids, places = DuplexLM(model, "duplex").lay("count.", said)
    assert model.vocabulary.decode([ids[p] for p in places]).strip() == said
    slices = ids.count(EMBEDDED.model_marker[0])
    assert slices == -(-len(places) // 10) > 1


@pytest.mark.parametrize("system", ["turns", "duplex"])
def test_a_context_that_does_not_fit_is_cut_from_the_left_and_counted(model: LoadedModel, system: str) -> None:
    lm = DuplexLM(model, system)
    ids, places = lm.lay("far away " * 400 + "the end?", "Yes.")
    assert len(ids) <= model.memory.limit
    assert ids[0] == EMBEDDED.bos and places[-1] == len(ids) - 1
    assert "the end?" in model.vocabulary.decode(ids)
    assert lm.cut == 1


def test_plain_text_is_not_scored(model: LoadedModel) -> None:
    with pytest.raises(BadInput, match="do not fit a model for conversations"):
        DuplexLM(model, "duplex").loglikelihood_rolling([])


def test_answers_end_at_a_stop_text(model: LoadedModel) -> None:
    lm = DuplexLM(model, "turns")
    whole, cut = (lm.generate_until([Request(("hello there", {"until": u}))])[0] for u in ([], [" "]))
    assert whole.split(" ")[0] == cut


def test_the_questions_of_the_package_have_one_right_choice() -> None:
    rows = [json.loads(line) for line in FACTS.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 60
    for row in rows:
        assert row["choices"][row["gold"]] == row["answer"]
        assert len(set(row["choices"])) == len(row["choices"]) == 4


def test_the_whole_way_through_the_harness(tmp_path: Path) -> None:
    """In a process of its own: the libraries ask the environment only when they are imported."""
    save_tiny_model(tmp_path / "model")
    home = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "webapp.cli",
        "eval",
        "harness",
        "--model",
        str(tmp_path / "model"),
        "--limit",
        "4",
    ]
    done = subprocess.run(command, env=home, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    assert set(report["duplex_facts"]) == {"duplex", "turns"}
    assert all(0 <= values["acc"] <= 1 and values["n"] == 4 for values in report["duplex_facts"].values())
