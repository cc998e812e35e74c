"""The command line: `duplex COMMAND --help` explains each command.

Heavy libraries are imported by the commands that need them, so that help is there at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.models.load import Choice
from duplex_runtime.slices import Slicing
from webapp.crowd import Crowd, minutes, number
from webapp.load.command import add_command as add_load_command
from webapp.logs import STYLES
from webapp.settings import Settings, root_path_of
from webapp.study.command import add_commands as add_study_commands
from webapp.study.command_analysis import add_commands as add_analysis_commands
from webapp.study.command_export import add_commands as add_export_commands

#: Benchmarks whose results `duplex report` gathers.
PANELS = ("panel", "interruption", "slices", "latency")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors are one line on standard error, status 2."""
    try:
        arguments = parser().parse_args(argv)
        return int(arguments.run(arguments))
    except DuplexError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # a conversation that nobody reads any more
            sys.stderr.close()
            return 0
        print(f"duplex: {' '.join(str(error).split())}", file=sys.stderr)  # libraries' messages have many lines
        return 2
    except BrokenPipeError:  # `duplex play … | head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(
        prog="duplex",
        description="Talk to a language model that listens while it answers, beside one that waits for its turn.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    defaults = Settings.from_environment()

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    def model(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--model", metavar="DIR_OR_HUB_ID", default=defaults.model,
            help="embedded, a model folder, or a hub id (default: %(default)s)",
        )  # fmt: skip

    def engine(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--engine", metavar="ENGINE", default=defaults.engine,
            help="torch, llamacpp, or addresses http://… of inference servers, with commas (default: %(default)s)",
        )  # fmt: skip
        sub.add_argument("--quantize", choices=("int8",), help="8-bit weights for a large model on the processor")

    def slices(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--slice-seconds", metavar="S", default="adaptive",
            help="adaptive, or the period of fixed slices in seconds (default: %(default)s)",
        )  # fmt: skip
        sub.add_argument("--seed", type=_seed, default=0, help="of the sampling (default: %(default)s)")

    def threshold(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--idle-threshold", type=float, metavar="P",
            help="the model is silent from this p(idle) on (default: 0.5; `duplex calibrate` finds one)",
        )  # fmt: skip

    def system(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--system", choices=("duplex", "turns"), default="duplex",
            help="listens while it speaks, or waits for its turn (default: %(default)s)",
        )  # fmt: skip

    serve = command("serve", _serve, "Open the page and the WebSocket /v1/realtime.")
    model(serve)
    serve.add_argument("--host", default=defaults.host, help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=defaults.port, help="port (default: %(default)s)")
    serve.add_argument(
        "--data", type=Path, default=defaults.data, help="folder of ratings and recordings (default: %(default)s)"
    )
    serve.add_argument(
        "--turn-pause", type=float, metavar="S", help="the turn-based system also answers after S seconds of silence"
    )
    serve.add_argument(
        "--baseline",
        choices=("strict", "barge-in"),
        default="strict",
        help="the turn-based system is deaf while it answers, or stops at any key or sound (default: %(default)s)",
    )
    serve.add_argument(
        "--ears",
        choices=("auto", "whisper", "sphinx", "off"),
        default="auto",
        help="what recognises speech; auto is Whisper if one of its models is here, else PocketSphinx "
        "(default: %(default)s)",
    )
    serve.add_argument(
        "--coqui", metavar="MODEL", help="also offer a voice of Coqui TTS, e.g. tts_models/en/ljspeech/vits"
    )
    engine(serve)
    threshold(serve)
    serve.add_argument(
        "--study", type=Path, metavar="DIR", default=defaults.study,
        help="hold the study of this folder, and nothing else: its participants shall not see which system is which",
    )  # fmt: skip
    _add_crowd(serve, defaults.crowd)
    serve.add_argument(
        "--log", choices=STYLES, default=defaults.log, help="the log on standard error (default: %(default)s)"
    )
    serve.add_argument("--open", action="store_true", help="open a browser")
    serve.add_argument(
        "--root-path", metavar="/PATH", default=defaults.root_path,
        help="the path below which a proxy shows the server, which the proxy takes off",
    )  # fmt: skip
    serve.add_argument(
        "--share", action="store_true",
        help="also at an address that everybody can open, through Gradio's tunnel; who has it can talk here",
    )  # fmt: skip

    doctor = command("doctor", _doctor, "Look at what works on this machine; status 1 if the demo cannot run.")
    doctor.add_argument("--host", default=defaults.host, help="that `serve` shall listen on (default: %(default)s)")
    doctor.add_argument("--port", type=int, default=defaults.port, help="of `serve` (default: %(default)s)")
    doctor.add_argument("--data", type=Path, default=defaults.data, help="folder of `serve` (default: %(default)s)")
    doctor.add_argument("--json", action="store_true", help="one JSON object instead of the table")

    text = "Make a Space of Hugging Face that runs this server, see docs/hosting.md."
    deploy = command("deploy", _deploy, text)
    deploy.add_argument(
        "name", choices=("cpu", "gpu", "study"), help="the embedded model, MiniCPM-duplex on a GPU, or a user study"
    )
    deploy.add_argument("--space", required=True, metavar="OWNER/NAME", help="the Space; it is made if need be")
    deploy.add_argument("--study", type=Path, metavar="DIR", help="study: the folder of the study")
    deploy.add_argument("--dry-run", action="store_true", help="build the folder and list it; upload nothing")

    chat = command("chat", _chat, "Talk in the terminal; every slice is shown.")
    model(chat)
    slices(chat)
    system(chat)
    engine(chat)
    threshold(chat)

    play = command("play", _play, "Play a timed script into a conversation; events come out as JSON lines.")
    play.add_argument(
        "script", metavar="SCRIPT.jsonl", help='lines of {"at": seconds, "text" or "key": …}; - for standard input'
    )
    model(play)
    slices(play)
    system(play)
    engine(play)
    threshold(play)
    play.add_argument("--clock", choices=("simulated", "real"), default="simulated", help="default: %(default)s")
    play.add_argument("--record", type=Path, metavar="LOG", help="also write a recording that `duplex replay` reads")

    replay = command("replay", _replay, "Play a recording again; status 1 if the model says other tokens.")
    replay.add_argument("log", type=Path, metavar="LOG", help="a recording: data/recordings/SESSION.jsonl")
    replay.add_argument("--model", metavar="DIR_OR_HUB_ID", help="default: the model that the recording names")

    data = command(
        "data", _data, "Make rows of training data: dialogues cut into slices, with interruptions of all kinds."
    )
    data.add_argument("what", choices=("build",))
    data.add_argument(
        "--source", default="corpus", metavar="SOURCE",
        help="a .jsonl, .jsonl.gz or .parquet file, hub:OWNER/NAME@SPLIT, or corpus (default: %(default)s)",
    )  # fmt: skip
    data.add_argument("--out", type=Path, default=Path("runs/rows"), help="folder (default: %(default)s)")
    data.add_argument("--rows", type=int, default=0, help="at most so many; 0 for all (default: %(default)s)")
    data.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl", help="default: %(default)s")
    data.add_argument(
        "--tokenizer", metavar="DIR_OR_HUB_ID", default="embedded",
        help="of the model to be trained: counts the tokens of a slice (default: %(default)s)",
    )  # fmt: skip
    data.add_argument("--kinds", metavar="NAME=SHARE,…", help="only these kinds, in these shares (default: all)")
    data.add_argument(
        "--periods", default="adaptive,0.5,1,2,4", metavar="S,…",
        help="slices' periods, mixed so that one model serves them all (default: %(default)s)",
    )  # fmt: skip
    data.add_argument("--words", default="4-6", metavar="A-B", help="the person's in 2 s (default: %(default)s)")
    data.add_argument("--tokens", type=int, default=10, help="the model's in 2 s, at most (default: %(default)s)")
    data.add_argument("--turns", action="store_true", help="leave the talks turn-based")
    data.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    data.add_argument("--workers", type=int, default=0, help="processes; 0 for all cores (default: %(default)s)")
    data.add_argument(
        "--on-bad", choices=("skip", "stop"), default="skip", help="rows that are not dialogues (default: %(default)s)"
    )
    data.add_argument(
        "--rewrite", metavar="URL", help="more ways to say the transitions, from an OpenAI-compatible endpoint (…/v1)"
    )
    data.add_argument("--rewrite-model", metavar="NAME", default="default", help="its model (default: %(default)s)")

    train = command("train", _train, "Teach a model to listen while it speaks; a stopped run goes on.")
    train.add_argument(
        "--preset", default="embedded", help="embedded, lora, minicpm-2b, or a .toml file (default: %(default)s)"
    )
    train.add_argument(
        "--model", metavar="DIR_OR_HUB_ID", help="a chat model to align; without it one is made from nothing"
    )
    train.add_argument("--data", type=Path, metavar="ROWS", help="rows of `duplex data build`, for --model")
    train.add_argument("--turns", type=Path, metavar="ROWS", help="turn-based rows to mix in, for --model")
    train.add_argument(
        "--start", type=Path, metavar="FOLDER", help="begin from these weights of the same shape, without --model"
    )
    train.add_argument("--out", type=Path, default=Path("runs/embedded"), help="folder (default: %(default)s)")
    train.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for all (default: %(default)s)")
    train.add_argument("--no-compile", action="store_true", help="do not use torch.compile (needs a C++ compiler)")

    average = command("average", _average, "The mean of the weights of training runs that began from one another.")
    average.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="two or more folders of `duplex train`")
    average.add_argument("out", type=Path, metavar="OUT", help="new folder")

    evaluate = command("eval", _eval, "Score what a model knows, when it speaks, and what it forgets in a long talk.")
    evaluate.add_argument(
        "what",
        choices=("model", "scripts", "memory", "harness"),
        help="model: held-out questions and situations of every kind; scripts: 40 timed scripts; "
        "memory: right answers before and after the stream is begun anew; harness: standard benchmarks",
    )
    evaluate.add_argument("--questions", type=int, default=400, help="model: how many (default: %(default)s)")
    evaluate.add_argument("--situations", type=int, default=150, help="model: of each kind (default: %(default)s)")
    evaluate.add_argument("--tasks", default="duplex_facts", help="harness: names, with commas (default: %(default)s)")
    evaluate.add_argument("--limit", type=int, help="harness: so many questions of each task")
    evaluate.add_argument("--failures", type=Path, metavar="FILE", help="model: write every failure, one JSON a line")
    model(evaluate)
    slices(evaluate)
    engine(evaluate)
    threshold(evaluate)

    calibrate = command("calibrate", _calibrate, "Find the p(idle) from which on the model should be silent.")
    model(calibrate)
    calibrate.add_argument("--streams", type=int, default=200, help="held-out streams to read (default: %(default)s)")
    calibrate.add_argument("--seed", type=_seed, default=0, help="of the streams (default: %(default)s)")

    convert = command(
        "convert", _convert, "Turn the released MiniCPM-duplex into a folder that transformers, vLLM and SGLang load."
    )
    convert.add_argument("source", metavar="SOURCE", help="folder of the release, or its hub id; embedded")
    convert.add_argument("out", metavar="OUT", type=Path, help="new folder to write to")
    convert.add_argument(
        "--gguf", metavar="TYPE", help="also (of other models: only) a file for llama.cpp: f32, q8_0 …"
    )

    bench = command("bench", _bench, "Measure on this machine; the last line is JSON.")
    bench.add_argument(
        "what",
        choices=(*PANELS, "engine", "slice", "reaction", "screen", "prosody", "voice", "study", "all"),
        help="panel: simulated people talk to all systems, and who speaks when is counted; interruption: every kind at "
        "every point of an answer; slices: periods of 0.5 to 4 s compared; latency: where the time goes, with 1 to N "
        "people; engine: ours beside others; slice: cost of a slice; reaction: last key to first word at a client; "
        "screen: the same in a browser; prosody: how even speech is where slices join; voice: a recorded person speaks "
        "into a browser's microphone; study: kill -9 while people answer, and 50 participants at once; all: engine to "
        "voice",
    )
    bench.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="leave here what there is to look at or to listen to, for `duplex report`",
    )
    model(bench)
    bench.add_argument("--seeds", type=int, metavar="N", help="panel, slices: of each scenario (default: 5; slices: 2)")
    bench.add_argument(
        "--only", action="append", metavar="NAME", help="panel: a situation or a scenario; may be repeated"
    )
    bench.add_argument("--scenarios", type=Path, metavar="DIR", help="panel: a folder of scenarios of your own")
    bench.add_argument("--systems", metavar="NAME,…", help="panel: some of duplex, strict, barge-in (default: all)")
    bench.add_argument("--slice-seconds", metavar="S", default="adaptive", help="panel: default: %(default)s")
    bench.add_argument(
        "--logs", type=Path, nargs="+", metavar="LOG", help="panel: of recordings, or of folders of them"
    )
    bench.add_argument("--questions", type=int, metavar="N", help="interruption: long answers; slices: questions")
    bench.add_argument(
        "--seed", type=_seed, default=0, help="interruption, slices, latency, study (default: %(default)s)"
    )
    bench.add_argument("--conversations", type=int, default=16, metavar="N", help="latency: up to so many at once")
    bench.add_argument("--seconds", type=float, default=20.0, metavar="S", help="latency: with each number of them")
    bench.add_argument("--voice", action="store_true", help="latency: also of spoken talks, in a browser")
    bench.add_argument("--live", action="store_true", help="panel: over a real server, in real time")

    add_load_command(commands, defaults.model)

    text = "Prepare a user study, analyse and export it, and find out how many people it needs."
    study = commands.add_parser("study", help=text, description=text).add_subparsers(required=True, metavar="COMMAND")
    add_study_commands(study)
    add_analysis_commands(study)
    add_export_commands(study)

    report = command("report", _report, "Write one HTML file and Markdown with all results; measures what is missing.")
    report.add_argument("--out", type=Path, default=Path("runs/report"), metavar="DIR", help="default: %(default)s")
    report.add_argument("--only-write", action="store_true", help="measure nothing: from the results that are there")
    model(report)
    return top


def _add_crowd(serve: argparse.ArgumentParser, crowd: Crowd) -> None:
    def add(
        name: str, metavar: str, kind: Callable[[str, str], float | None], default: float | None, text: str
    ) -> None:
        serve.add_argument(
            name, metavar=metavar, type=partial(kind, name), default=default,
            help=f"{text} (default: {'none' if default is None else f'{default:g}'})",
        )  # fmt: skip

    serve.add_argument(
        "--places", metavar="auto|N", type=partial(number, "--places", nothing="auto"), default=crowd.places,
        help="conversations at once, the others wait; auto: as many as this machine serves in time, which is measured "
        f"at the start (default: {crowd.places or 'auto'})",
    )  # fmt: skip
    add("--per-person", "N", number, crowd.per_person, "of these, for one person, told apart by address")
    add("--session-minutes", "M", minutes, crowd.session_minutes, "a conversation ends after so long")
    add("--idle-minutes", "M", minutes, crowd.idle_minutes, "it ends after so long without a word of the person")


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise BadInput(f"--seed: expected a whole number from 0 to 2^63 - 1, got {text[:40]!r}")
    return int(text)


def _serve(a: argparse.Namespace) -> int:
    from webapp.serve import serve

    defaults = Settings.from_environment()
    settings = replace(
        defaults,
        model=a.model,
        data=a.data,
        host=a.host,
        port=a.port,
        turn_pause_seconds=a.turn_pause,
        baseline=a.baseline,
        ears=a.ears,
        coqui=a.coqui,
        idle_threshold=a.idle_threshold,
        engine=a.engine,
        quantize=a.quantize,
        study=a.study,
        crowd=replace(
            defaults.crowd,
            places=a.places,
            per_person=a.per_person,
            session_minutes=a.session_minutes,
            idle_minutes=a.idle_minutes,
        ),
        log=a.log,
        root_path=root_path_of("--root-path", a.root_path),
    )
    return serve(settings, open_browser=a.open, share=a.share)


def _doctor(a: argparse.Namespace) -> int:
    from webapp.doctor import run

    return run(replace(Settings.from_environment(), host=a.host, port=a.port, data=a.data), a.json)


def _deploy(a: argparse.Namespace) -> int:
    from webapp.deploy import run

    return run(a.name, a.space, a.study, a.dry_run)


def _choice(a: argparse.Namespace) -> Choice:
    return Choice(a.model, a.quantize, a.engine)


def _chat(a: argparse.Namespace) -> int:
    from webapp.chat import chat

    return chat(_choice(a), a.system, Slicing.parse(a.slice_seconds), a.seed, a.idle_threshold)


def _play(a: argparse.Namespace) -> int:
    from webapp.play import play

    return play(a.script, _choice(a), a.system, a.slice_seconds, a.clock == "real", a.seed, a.record, a.idle_threshold)


def _replay(a: argparse.Namespace) -> int:
    from webapp.play import replay_log

    return replay_log(a.log, a.model)


def _data(a: argparse.Namespace) -> int:
    from duplex_runtime.alignment.build import Settings as Build
    from duplex_runtime.alignment.build import run
    from duplex_runtime.alignment.rewrite import Rewriter
    from duplex_runtime.alignment.weave import Plan

    if a.rows < 0 or a.workers < 0:
        raise BadInput(f"--rows and --workers: expected 0 or more, got {a.rows} and {a.workers}")
    plan = Plan.parse(a.seed, a.kinds, a.periods, a.words, a.tokens)
    rewriter = Rewriter(a.rewrite, a.rewrite_model, a.out) if a.rewrite else None
    settings = Build(a.source, a.tokenizer, plan, a.rows, a.format, a.turns)
    return run(settings, a.out, stop=a.on_bad == "stop", workers=a.workers, rewriter=rewriter)


def _train(a: argparse.Namespace) -> int:
    import torch

    from duplex_runtime.alignment.presets import Preset
    from duplex_runtime.alignment.train import align, train_embedded
    from duplex_runtime.models.load import EMBEDDED_FOLDER

    preset = Preset.read(a.preset)
    if (a.model is None) != (a.data is None):
        raise BadInput("--model and --data belong together: a chat model, and rows of `duplex data build` to align it")
    if a.threads:
        torch.set_num_threads(a.threads)
    if a.model:
        align(preset, a.model, a.data, a.out, a.turns)
    else:
        tokenizer = EMBEDDED_FOLDER / "tokenizer.json"
        train_embedded(preset, a.out, tokenizer, start=a.start, compile_model=not a.no_compile)
    return 0


def _average(a: argparse.Namespace) -> int:
    from duplex_runtime.alignment.average import average

    average(a.folders, a.out)
    return 0


def _eval(a: argparse.Namespace) -> int:
    if a.what == "model":
        from duplex_runtime.evaluation import model

        return model.run(a.model, a.questions, a.situations, a.seed, a.failures)
    if a.what == "harness":
        try:
            from duplex_runtime.evaluation import harness
        except ImportError:
            raise BadInput("eval harness needs lm_eval: pip install 'duplex-arena[eval]'") from None
        return harness.run(a.model, a.tasks, a.limit)
    if a.what == "memory":
        from duplex_runtime.evaluation import memory

        return memory.run(a.model, seed=a.seed)
    from duplex_runtime.evaluation.scripts import run

    return run(_choice(a), a.slice_seconds, a.seed, idle_threshold=a.idle_threshold)


def _calibrate(a: argparse.Namespace) -> int:
    from duplex_runtime.evaluation.calibration import run

    return run(a.model, a.streams, a.seed)


def _convert(a: argparse.Namespace) -> int:
    from webapp.convert import run

    return run(a.source, a.out, a.gguf)


def _bench(a: argparse.Namespace) -> int:
    if a.what in PANELS:
        from webapp.measure import run_one

        return run_one(a)
    if a.what == "study":
        from webapp.study.bench import run as run_study

        return run_study(a.seed)
    from webapp.bench import run

    return run(a.what, a.model, a.out)


def _report(a: argparse.Namespace) -> int:
    from webapp.measure import report

    return report(a.out, a.model, measure=not a.only_write)


if __name__ == "__main__":
    sys.exit(main())
