"""The Spaces, built, started as Hugging Face starts them, and used in a frame of another site and below a path."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import FrameLocator, Locator, Page, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.minicpm_folder import build as build_checkpoint
from tests.space_fakes import Space, another_site, below, fresh_python
from tests.study_files import study_file
from webapp.deploy import build

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PREFIX = "/some/prefix"
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_python(tmp_path_factory.mktemp("python"))


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[str, Callable[[str], str]]]:
    with another_site() as site:
        yield site


@pytest.fixture(scope="module")
def cpu(python: Path, site: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    folder = tmp_path_factory.mktemp("cpu")
    frames = f"'self' {site[0]}"
    with Space(build("cpu", folder / "app"), python, folder / "tmp", DUPLEX_FRAME_ANCESTORS=frames) as space:
        yield space


@pytest.fixture(scope="module")
def gpu(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """With a stand-in for the checkpoint where `preload_from_hub` puts it, and below a path."""
    folder = tmp_path_factory.mktemp("gpu")
    preloaded(folder / "huggingface", "xinrongzhang2022/MiniCPM-duplex")
    more = {"HF_HOME": str(folder / "huggingface"), "DUPLEX_ROOT_PATH": PREFIX}
    with Space(build("gpu", folder / "app"), python, folder / "tmp", **more) as space:
        yield space
        assert list((folder / "huggingface" / "duplex-arena").glob("*/model.safetensors")), "converted at its start"


@pytest.fixture(scope="module")
def study(python: Path, site: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    folder = tmp_path_factory.mktemp("study")
    own = study_file(folder / "my-study").parent
    more = {"DUPLEX_STUDY_TOKEN": TOKEN, "DUPLEX_FRAME_ANCESTORS": f"'self' {site[0]}"}
    with Space(build("study", folder / "app", own), python, folder / "tmp", **more) as space:
        yield space


def preloaded(home: Path, name: str) -> None:
    """The stand-in in the cache of the hub, as a download of it leaves it there."""
    repo, revision = home / "hub" / f"models--{name.replace('/', '--')}", "0" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(revision)
    build_checkpoint(repo / "snapshots" / revision)


def ask(frame: FrameLocator | Page, question: str) -> None:
    box = frame.locator('#duplex-arena [data-part="box"]')
    expect(frame.locator('#duplex-arena [data-part="connection"]')).to_have_text("connected")
    box.press_sequentially(question, delay=40)
    box.press("Enter")


def answer(frame: FrameLocator | Page, system: str) -> Locator:
    return frame.locator(f'#duplex-arena [data-part="panel-{system}"] .da-answer-line').last


def test_a_question_is_answered_in_a_frame_of_another_site(new_page: Callable[..., Any], cpu: Space, site: Any) -> None:
    arena = new_page()
    cookies: list[str] = []
    arena.page.on("response", lambda response: cookies.append(response.headers.get("set-cookie", "")))
    arena.page.goto(site[1](cpu.url))
    frame = arena.page.frame_locator("#space")
    ask(frame, "what is the capital of france?")
    for system in ("duplex", "turns"):
        expect(answer(frame, system)).to_contain_text("Paris")
    assert not arena.problems
    assert {urlsplit(url).hostname for url in arena.urls} == {"127.0.0.1", "localhost"}, "nothing leaves the machine"
    assert not any(cookies), "cookies are unreliable in a frame"


def test_a_home_that_cannot_be_written_is_told_and_data_that_do_not_last_too(cpu: Space) -> None:
    said = cpu.log()
    assert "/proc/.cache/huggingface cannot be written: HF_HOME is" in said
    assert "which a restart of the Space empties" in said
    assert "Traceback" not in said and "Warning" not in said


def test_pages_of_other_sites_may_not_connect(cpu: Space) -> None:
    address = cpu.url.replace("http", "ws") + "/v1/realtime"
    with connect(address, origin=Origin("https://ann-arena.hf.space"), proxy=None) as socket:
        socket.ping()
    with pytest.raises(InvalidStatus), connect(address, origin=Origin("https://example.org"), proxy=None):
        pass


def test_the_gpu_space_converts_its_checkpoint_and_answers_below_a_path(
    new_page: Callable[..., Any], gpu: Space
) -> None:
    with below(PREFIX, gpu.port) as (url, strays):
        arena = new_page().open(url)
        ask(arena.page, "Can you tell me about volcanoes?")
        expect(answer(arena.page, "turns")).to_be_visible()
        expect(arena.part("model")).to_contain_text("MiniCPM-duplex")
        rated = arena.part("rating-turns")
        for scale in ("Responsiveness", "Human-likeness"):
            rated.get_by_role("radiogroup", name=scale).get_by_role("radio").nth(2).check()
        rated.get_by_role("button", name="rate").click()
        expect(rated.locator('[data-part="message"]')).to_contain_text("saved")
        # browsers ask for this one by themselves
        assert not set(strays) - {"/favicon.ico"}, "everything is asked for below the path"
        assert not arena.problems


def test_the_study_space_holds_its_study_in_a_frame(new_page: Callable[..., Any], study: Space, site: Any) -> None:
    arena = new_page()
    arena.page.goto(site[1](f"http://127.0.0.1:{study.port}/"))
    frame = arena.page.frame_locator("#space")
    expect(frame.locator('[data-part="contact"]')).to_contain_text("Ann, a@example.org")
    assert not arena.problems
    with below(PREFIX, study.port) as (url, strays):
        arena.page.goto(url)
        expect(arena.page.locator('[data-part="contact"]')).to_contain_text("Ann, a@example.org")
        assert urlsplit(arena.page.url).path == f"{PREFIX}/study/my-study/"
        assert not set(strays) - {"/favicon.ico"}
    assert httpx.get(study.url + "results", trust_env=False).status_code == 200
    shown = httpx.get(study.url + "results", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=120)
    assert shown.status_code == 200 and "Talking with computer programs" in shown.text
