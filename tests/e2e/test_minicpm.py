"""Checkpoints of others on the page: MiniCPM-duplex as released (a stand-in), and a chat model without duplex."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect
from transformers import LlamaConfig, LlamaForCausalLM

from tests.minicpm_folder import build
from tests.test_template import CHATML, CHATML_TOKENS, byte_tokenizer
from tests.web_fakes import PATIENCE, ROOM, Served
from webapp.app import create_app
from webapp.settings import Settings

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`duplex serve --model RELEASE`, as somebody starts it; gives where it is."""
    folder = tmp_path_factory.mktemp("release")
    model = build(folder / "MiniCPM-duplex")
    command = [sys.executable, "-m", "webapp.cli", "serve", "--port", "0",
               "--model", str(model), "--data", str(folder / "data")]  # fmt: skip
    environment = os.environ | {"HF_HOME": str(folder / "cache"), "PORT": "7860"}
    with (
        (folder / "errors.txt").open("w+") as errors,
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as server,
    ):
        try:
            said = ""
            assert server.stdout
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", said)):
                line = server.stdout.readline()
                assert line, (folder / "errors.txt").read_text()
                said += line
            yield found[0]
            server.send_signal(signal.SIGINT)
            server.wait(PATIENCE)
            assert "Traceback" not in (folder / "errors.txt").read_text()
            assert list((folder / "cache" / "duplex-arena").glob("*/model.safetensors")), "converted on first use"
        finally:
            server.kill()


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A small Llama with random weights and a template of its own."""
    folder = tmp_path_factory.mktemp("chat")
    tokenizer = byte_tokenizer(CHATML, CHATML_TOKENS, eos_token="<|im_end|>")
    tokenizer.save_pretrained(folder / "model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    with Served(create_app(Settings(model=str(folder / "model"), data=folder / "data", crowd=ROOM))) as served:
        yield served


def talk(arena: Any) -> None:
    """A sentence for both: a slice stands on every lane, with what each of them said."""
    arena.type("Can you tell me about volcanoes?")
    heard = arena.wait_for("the words", lambda e: e["type"] == "duplex.slice" and "volcanoes?" in e["user"])
    assert heard["system"] == "duplex" and 0 <= heard["p_idle"] <= 1
    arena.part("box").press("Enter")
    arena.wait_for("an answer", lambda e: e["type"] == "response.output_text.delta" and e["system"] == "turns")
    for lane, mark in (("you", ".da-heard"), ("duplex", ":is(.da-speech, .da-idle)"), ("turns", ".da-speech")):
        expect(arena.page.locator(f".da-lane-{lane} {mark}").first).to_be_attached()
    expect(arena.answer("turns")).to_be_visible()
    assert not arena.problems


def test_the_release_is_served_as_it_is_and_both_lanes_speak(new_page: Callable[..., Any], release: str) -> None:
    arena = new_page().open(release)
    talk(arena)
    session = next(e["session"] for e in arena.events if e["type"] == "session.created")
    assert session["aligned"] is True
    expect(arena.part("model")).to_contain_text("MiniCPM-duplex")
    expect(arena.part("badge")).to_be_hidden()


def test_a_model_that_never_learned_duplex_says_so_on_the_page(
    new_page: Callable[..., Any], chat_model: Served
) -> None:
    arena = new_page().open(chat_model.url)
    expect(arena.part("badge")).to_be_visible()
    expect(arena.part("badge")).to_have_text("not trained for duplex")
    talk(arena)
    width, height = arena.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert width <= 1280 and height <= 800
