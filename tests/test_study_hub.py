import httpx
import pytest
from huggingface_hub.errors import LocalTokenNotFoundError

from duplex_runtime.errors import BadInput
from tests.hub_fakes import FakeHub, Repo, refused
from webapp.study.hub import HubError, checked_repo, private_dataset, problem_of, reached, remove


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refused(401), "the token is not valid"),
        (refused(403), "may not write there"),
        (refused(404), "it is not there, or this token may not see it"),
        (refused(500), "it answered 500"),
        (LocalTokenNotFoundError("no"), "there is no token: set HF_TOKEN"),
        (httpx.ConnectError("no route"), "it cannot be reached (ConnectError: no route): check the network"),
        (OSError("odd"), "cannot be reached"),
        (ValueError(), "cannot be reached (ValueError: )"),
    ],
)
def test_what_goes_wrong_is_said_in_words(error: Exception, said: str) -> None:
    with pytest.raises(HubError) as raised, reached("ann/data"):
        raise error
    assert str(raised.value).startswith("ann/data on the Hugging Face hub: ")
    assert said in str(raised.value)


def test_a_mistake_of_the_program_is_none_of_the_hub() -> None:
    with pytest.raises(KeyError), reached("ann/data"):
        raise KeyError("x")


def test_a_data_set_is_made_private() -> None:
    hub = FakeHub()
    private_dataset(hub, "ann/data")
    assert hub.repos["ann/data"].private


def test_a_public_data_set_is_refused() -> None:
    hub = FakeHub()
    hub.repos["ann/data"] = Repo(private=False)
    with pytest.raises(HubError, match="everybody can read it: make it private"):
        private_dataset(hub, "ann/data")


def test_of_what_is_removed_nothing_is_left_in_the_history_and_among_large_files() -> None:
    hub = FakeHub()
    files = {"recordings/a.jsonl": b"1", "recordings/a.wav": b"2", "recordings/b.wav": b"3"}
    large = {name: data for name, data in files.items() if name.endswith(".wav")}
    hub.repos["ann/data"] = Repo(files=dict(files), before=[dict(files)], large=large)
    assert remove(hub, "ann/data", ["recordings/a.jsonl", "recordings/a.wav", "recordings/none"]) == 2
    assert hub.ever("ann/data") == {"recordings/b.wav"}
    hub.repos["ann/data"].before.append({"recordings/c.jsonl": b"4"})  # deleted, but the next step had failed
    assert remove(hub, "ann/data", ["recordings/c.jsonl"]) == 0
    assert hub.ever("ann/data") == {"recordings/b.wav"}


@pytest.mark.parametrize("name", ["", "data", "ann/", "/data", "ann/da ta", "ann/../x/y", "-a/b", "a/b\n"])
def test_what_is_no_data_set_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="OWNER/NAME"):
        checked_repo(name)


def test_a_check_changes_nothing_and_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    hub, token = FakeHub(), ""
    monkeypatch.setattr("webapp.study.hub.api_of", lambda: hub)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    assert "set HF_TOKEN" in problem_of("ann/data")
    token = "hf_x"
    assert problem_of("ann/data") == "" and hub.repos == {}
    hub.repos["ann/data"] = Repo(private=False)
    assert "everybody can read ann/data" in problem_of("ann/data")
    hub.repos["ann/data"] = Repo()
    assert problem_of("ann/data") == ""
    hub.fails = refused(401)
    assert "the token is not valid" in problem_of("ann/data")
