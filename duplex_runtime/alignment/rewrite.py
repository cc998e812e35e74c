"""More ways to say the transitions, from a language model behind an OpenAI-compatible endpoint.

    phrases = Rewriter("http://127.0.0.1:8000/v1", "my-model", Path("rows")).more(phrases)

One request a phrase, kept in OUT/phrases.json so that a second run asks nothing twice. A phrase whose rewriting
fails, or comes back without its {slots}, stays alone.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

#: Kinds whose phrases are rewritten: what people say to steer a talk, and what leads back to an answer.
REWRITTEN = ("topic_changes", "corrections", "questions_inserted", "stop", "go_on", "bridges")
#: Requests at once, seconds for each, ways to say a phrase.
_TOGETHER, _SECONDS, _WAYS = 8, 60.0, 3
_ASK = (
    "Write {ways} other natural ways to say the following in a spoken conversation, one a line, nothing else. "
    "Keep every {{placeholder}} in braces as it is.\n\n{phrase}"
)


@dataclass(frozen=True)
class Rewriter:
    """url: up to /v1; model: its name there."""

    url: str
    model: str
    out: Path

    def more(self, phrases: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
        """The phrases with their rewritings behind them."""
        self.out.mkdir(parents=True, exist_ok=True)
        file = self.out / "phrases.json"
        known: dict[str, list[str]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        missing = [p for kind in REWRITTEN for p in phrases[kind] if p not in known]
        with ThreadPoolExecutor(_TOGETHER) as pool:
            answers = list(pool.map(self._ask, missing))
        failed = sum(answer is None for answer in answers)
        if failed:
            print(f"{failed} of {len(missing)} phrases were not rewritten: {self.url} gave no answer", file=sys.stderr)
        known |= {p: usable(p, answer) for p, answer in zip(missing, answers, strict=True) if answer is not None}
        part = file.with_suffix(".part")
        part.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        part.replace(file)
        more = {k: [w for p in phrases[k] for w in (p, *known.get(p, ()))] for k in REWRITTEN}
        return {**phrases, **more}

    def _ask(self, phrase: str) -> str | None:
        import httpx

        message = {"role": "user", "content": _ASK.format(ways=_WAYS, phrase=phrase)}
        try:
            reply = httpx.post(
                f"{self.url.rstrip('/')}/chat/completions",
                json={"model": self.model, "messages": [message], "temperature": 0.8, "seed": 0},
                timeout=_SECONDS,
            )
            reply.raise_for_status()
            return str(reply.json()["choices"][0]["message"]["content"])
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError):
            return None


def usable(phrase: str, answer: str) -> list[str]:
    """The lines of an answer that have the phrase's slots and no others, without numbers and bullets."""
    slots = sorted(re.findall(r"\{\w*\}", phrase))
    lines = (re.sub(r"^\s*(?:[-*•]|\d+[.)])\s*", "", line).strip().strip('"') for line in answer.splitlines())
    good = (line for line in lines if line and len(line) < 200 and sorted(re.findall(r"\{[^}]*\}?|\}", line)) == slots)
    return list(dict.fromkeys(line for line in good if line != phrase))[:_WAYS]
