"""`duplex doctor`: what works on this machine, and what to do about the rest.

checks = examine(Settings())               # every check, one after the other
print(table(checks)); print(runs(checks))  # runs: can the demo be started?

Each check is a function of the settings that returns `Check`s. One that raises is shown as failed, with its reason: the
others are not concerned. Nothing is downloaded and nothing is left behind.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from duplex_runtime.errors import DuplexError
from webapp.settings import Settings

WORKS, OFF, BROKEN = "works", "off", "broken"
MARKS = {WORKS: "✓", OFF: "–", BROKEN: "✗"}
#: SHA-256 of what ships with the package; a test compares it with the files.
SUMS = {
    "tokenizer.json": "86b5d9ba656637445045bb79426e56b01b246e3ee7034a1f61805f7f3dc89e07",
    "duplex/config.json": "6695e5e587c7eb241f9913a1534dad6910ae3e665c9219c5e09797715d1fe111",
    "duplex/model.safetensors": "9d797785daf153c96ffb5adebc2d1dc2312ad4b00fe8c2ba2c26461931f45200",
    "turns/config.json": "6695e5e587c7eb241f9913a1534dad6910ae3e665c9219c5e09797715d1fe111",
    "turns/model.safetensors": "4cefb0b3cbd7e5c1d18260902e8b853c9915c5bd7cce736763acd7d0ac50bd1e",
}
#: An hour of talk is about 2 MB of recording, with the sound of a voice more: this is room for a day.
ROOM_BYTES = 1_000_000_000
#: A slice with ten tokens should not take longer: it has to fit beside those of others into 2 s.
SLOW_SECONDS = 0.5
DISTRIBUTION = "duplex-arena"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. state: works, off (can be done without) or broken. found: what there is.
    todo: what to do about it. vital: without it the demo cannot run."""

    name: str
    state: str
    found: str
    todo: str = ""
    vital: bool = False


def run(settings: Settings, as_json: bool) -> int:
    """Examine this machine and print what was found; status 1 if the demo cannot run."""
    checks = examine(settings)
    if as_json:
        print(json.dumps({"runs": runs(checks), "checks": [asdict(check) for check in checks]}, ensure_ascii=False))
    else:
        print(table(checks))
        print("The demo runs here: duplex serve --open" if runs(checks) else "The demo cannot run here yet: see ✗.")
    return 0 if runs(checks) else 1


def examine(settings: Settings) -> list[Check]:
    """All checks in the order of the table."""
    return [check for name, (look, vital) in CHECKS.items() for check in guarded(name, look, vital, settings)]


def guarded(name: str, look: Callable[[Settings], Iterator[Check]], vital: bool, settings: Settings) -> Iterator[Check]:
    """What a look finds, and as its last finding what ended it."""
    try:
        yield from look(settings)
    except Exception as error:  # the edge of one check: whatever is broken here is what was asked for
        said = str(error) if isinstance(error, DuplexError) else f"{type(error).__name__}: {error}"
        yield Check(name, BROKEN, " ".join(said.split())[:200], vital=vital)


def runs(checks: Sequence[Check]) -> bool:
    """Can the demo be started?"""
    return not any(check.vital and check.state == BROKEN for check in checks)


def table(checks: Sequence[Check]) -> str:
    """For people: mark, name and what was found; below, what to do."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{MARKS[check.state]} {check.name:{width}}  {check.found}")
        if check.todo:
            lines.append(f"{'':{width + 4}}do this: {check.todo}")
    return "\n".join(lines)


# — the program and its model —


def python(_: Settings) -> Iterator[Check]:
    """The interpreter."""
    yield Check("Python", WORKS, f"{platform.python_version()} in {sys.prefix}")


def packages(_: Settings) -> Iterator[Check]:
    """What the typed demo needs, against what it allows and against constraints.txt where that is."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    wanted = [Requirement(line) for line in importlib.metadata.requires(DISTRIBUTION) or ()]
    pins, missing, other = pinned(), [], []
    base = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    for requirement in base:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement.name)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            missing.append(f"{requirement.name} {version} (expected {requirement.specifier})")
        elif requirement.name in pins and Version(version).public != pins[requirement.name]:
            other.append(f"{requirement.name} {version} (checked with {pins[requirement.name]})")
    if missing:
        yield Check("packages", BROKEN, f"missing: {', '.join(missing)}", "make demo", vital=True)
    elif other:
        again = "if anything fails: pip install -c constraints.txt -e ."
        yield Check("packages", OFF, f"allowed but not those of constraints.txt: {', '.join(other)}", again)
    else:
        yield Check("packages", WORKS, f"{len(base)}, {'as in constraints.txt' if pins else 'in the allowed versions'}")


def pinned() -> dict[str, str]:
    """The versions of constraints.txt, in a checkout; a wheel has none."""
    file = Path(__file__).resolve().parents[1] / "constraints.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def processor(_: Settings) -> Iterator[Check]:
    """Cores, threads and memory."""
    import psutil
    import torch

    memory = psutil.virtual_memory()
    found = (
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch {torch.__version__}, "
        f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB of memory free"
    )
    low = memory.available < 1.5e9
    yield Check("processor", OFF if low else WORKS, found, "close other programs: the demo takes 1.5 GB" if low else "")


def graphics(_: Settings) -> Iterator[Check]:
    """A GPU for large models."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        yield Check("GPU", WORKS, f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
    elif torch.backends.mps.is_available():
        yield Check("GPU", WORKS, "Apple's, through MPS")
    else:
        todo = "" if torch.version.cuda is None else "if there is an NVIDIA card: update its driver (nvidia-smi)"
        yield Check("GPU", OFF, "none found; the embedded model needs none", todo)


def weights(_: Settings) -> Iterator[Check]:
    """Are the files of the embedded model whole?"""
    from duplex_runtime.models.load import EMBEDDED_FOLDER

    wrong = [name for name, expected in SUMS.items() if sha256(EMBEDDED_FOLDER / name) != expected]
    if wrong:
        todo = f"get them again: git checkout -- {EMBEDDED_FOLDER.name}, or install the package anew"
        yield Check("weights", BROKEN, f"not as they were released: {', '.join(wrong)}", todo, vital=True)
    else:
        yield Check("weights", WORKS, f"{len(SUMS)} files of the embedded model, checksums right")


def sha256(file: Path) -> str | None:
    """Of a file; None for one that is not there."""
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def slice_time(_: Settings) -> Iterator[Check]:
    """A real slice: six words in, up to ten tokens out, on one thread as in the server. The best of five is told."""
    import torch

    from duplex_runtime.engine.requests import Sampling, SliceRequest
    from duplex_runtime.models.load import load_model

    model, threads, times = load_model("embedded", "duplex"), torch.get_num_threads(), []
    engine = model.engine(slots=1)
    torch.set_num_threads(1)
    try:
        slot = engine.open(Sampling(idle_threshold=2.0))  # never silent: it has to speak
        ids = (model.layout.bos, *model.layout.user(model.vocabulary, "can you tell me about bees?"))
        for _run in range(5):
            begun, said = time.perf_counter(), 0
            engine.submit(slot, SliceRequest(0, ids, 10))
            while engine.busy:
                said += sum(output.token is not None for output in engine.step())
            times.append(time.perf_counter() - begun)
    finally:
        engine.shutdown()
        torch.set_num_threads(threads)
    found = f"{1000 * min(times):.0f} ms with {said} tokens, embedded model"
    if not said:
        yield Check("a slice", BROKEN, found, "install torch anew: make demo", vital=True)
    elif min(times) > SLOW_SECONDS:
        yield Check("a slice", OFF, found, "it will be late: close other programs, or try --engine llamacpp")
    else:
        yield Check("a slice", WORKS, found)


# — sound —


def ears(settings: Settings) -> Iterator[Check]:
    """What recognises speech."""
    from duplex_runtime.speech.kit import Kit

    about = Kit(settings.ears, settings.coqui).about()
    if about["ears"] is None:
        yield Check("ears", OFF, "speech is not recognised", about["note"])
    else:
        yield Check("ears", WORKS, f"{about['ears']['name']}: {about['ears']['note']}")
    if importlib.util.find_spec("faster_whisper"):
        from duplex_runtime.speech.whisper import MODELS, choose, here, this_machine

        choice = choose(this_machine())
        if here(choice):
            yield Check("Whisper", WORKS, f"{choice.model} is on this machine")
        else:
            size = MODELS[choice.model].megabytes
            found = f"its model {choice.model} is not here; PocketSphinx knows the demo's words only"
            yield Check("Whisper", OFF, found, f"duplex serve --ears whisper fetches {size} MB once")


def voices(_: Settings) -> Iterator[Check]:
    """What speaks."""
    from duplex_runtime.speech.kit import INSTALL, Kit

    if importlib.util.find_spec("espeakng_loader"):
        utterance = Kit("off").voice("espeak").say("hello")
        seconds = len(utterance.samples) / utterance.rate
        yield Check("eSpeak NG", WORKS, f"said “hello” in {seconds:.1f} s of sound")
    else:
        yield Check("eSpeak NG", OFF, "not installed", INSTALL)
    if importlib.util.find_spec("TTS"):
        yield Check("Coqui TTS", OFF, "installed; none of its voices is offered", "duplex serve --coqui MODEL")
    else:
        yield Check("Coqui TTS", OFF, "not installed; it has neural voices", "pip install 'duplex-arena[coqui]'")
    yield Check("browser voices", WORKS, "the page offers those that its browser has")


def microphone(settings: Settings) -> Iterator[Check]:
    """Browsers give it to pages of this machine, or of https."""
    if settings.host in ("127.0.0.1", "localhost", "::1"):
        yield Check("microphone", WORKS, f"on this machine, at http://{settings.host}:{settings.port}")
    else:
        yield Check(
            "microphone", OFF,
            "browsers on other machines give it only to https pages; on this one http://localhost is enough",
            "put a proxy with a certificate in front, e.g.: caddy reverse-proxy --from NAME --to "
            f":{settings.port}; or from elsewhere: ssh -L {settings.port}:localhost:{settings.port} THIS-MACHINE",
        )  # fmt: skip


# — where it runs —


def port(settings: Settings) -> Iterator[Check]:
    """Is the port free?"""
    from webapp.serve import bind

    bind(settings.host, settings.port).close()
    yield Check("port", WORKS, f"{settings.host}:{settings.port} is free")


def data(settings: Settings) -> Iterator[Check]:
    """The folder of ratings and recordings: it, or where it would be made."""
    from webapp.health import cannot_write

    folder = settings.data.resolve()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if problem := cannot_write(there):
        yield Check("data folder", BROKEN, f"{folder}: {problem}", "choose another with --data", vital=True)
        return
    free = shutil.disk_usage(there).free
    state, todo = (OFF, "free some space, or choose another with --data") if free < ROOM_BYTES else (WORKS, "")
    yield Check("data folder", state, f"{folder} can be written, {free / 1e9:.1f} GB free", todo)


def study(_: Settings) -> Iterator[Check]:
    """What a user study needs."""
    modules = ("alembic", "pandas", "scipy", "sqlalchemy", "statsmodels")
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    install = "pip install 'duplex-arena[study]'"
    if missing:
        yield Check("user study", OFF, f"not installed: {', '.join(missing)}", install)
    else:
        yield Check("user study", WORKS, "installed: duplex study new NAME")
    if importlib.util.find_spec("psycopg"):
        import psycopg

        found = f"psycopg {psycopg.__version__}"
        yield Check("PostgreSQL driver", WORKS, f"{found}; SQLite needs none")
    else:
        yield Check("PostgreSQL driver", OFF, "not installed; SQLite needs none", install)


def engines(_: Settings) -> Iterator[Check]:
    """llama.cpp in this process."""
    if importlib.util.find_spec("llama_cpp") and importlib.util.find_spec("gguf"):
        import llama_cpp

        yield Check("llama.cpp", WORKS, f"llama-cpp-python {llama_cpp.__version__}: duplex serve --engine llamacpp")
    else:
        found = "not installed; quicker than torch on a processor"
        yield Check("llama.cpp", OFF, found, "pip install 'duplex-arena[llamacpp]' (needs a C++ compiler)")


def for_tests(_: Settings) -> Iterator[Check]:
    """Programs that only the tests use."""
    named = os.environ.get("DUPLEX_CHROMIUM")
    for name, programs, todo in (
        ("Node.js", ["node"], "for the tests of the page: install Node.js 20 or newer"),
        (
            "Chromium",
            [named] if named else ["chromium", "chromium-browser", "google-chrome"],
            "make test installs one; it is for the tests of the page",
        ),
    ):
        program = next((path for each in programs if (path := shutil.which(each))), None)
        if program is None:
            yield Check(name, OFF, "not found; only tests need it", todo)
            continue
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20).stdout.strip()
        yield Check(name, WORKS, said or program)


#: By name: the look, and whether the demo needs it.
CHECKS: dict[str, tuple[Callable[[Settings], Iterator[Check]], bool]] = {
    "Python": (python, True),
    "packages": (packages, True),
    "processor": (processor, True),
    "GPU": (graphics, False),
    "weights": (weights, True),
    "a slice": (slice_time, True),
    "ears": (ears, False),
    "voices": (voices, False),
    "microphone": (microphone, False),
    "port": (port, True),
    "data folder": (data, True),
    "user study": (study, False),
    "llama.cpp": (engines, False),
    "for tests": (for_tests, False),
}
