"""A study: one TOML file in a folder of its own, read into values.

    study = Study.read(Path("my-study"))          # or the file my-study/study.toml; raises Refused
    study.systems                                 # ("duplex", "strict")
    study.tasks.sheet[0].title.of("zh")
    study.database_url                            # sqlite:////home/…/my-study/study.db

`duplex study new NAME` writes a file with a comment for every key; `duplex study check NAME` looks for mistakes.
What a participant reads and no study changes is in texts/.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from webapp.study.reader import Refused, Words

#: What people may talk to: listens while it speaks; deaf while it answers; stops at any key or sound.
SYSTEMS = ("duplex", "strict", "barge-in")
WAYS = ("typing", "voice", "either")
PROTOCOLS = ("arena", "paper")
#: The questionnaire of arXiv 2406.15718 (appendix B.2), in its order; 1 disappointment, 4 indifference, 7 excellence.
PAPER_SCALES = ("responsiveness", "faithfulness", "factuality", "human_likeness", "overall")
#: In the manner of SASSI (Hone and Graham, 2000), in our words; 1 strongly disagree, 7 strongly agree.
AGREEMENT_SCALES = ("annoyance", "speed")
SCALES = PAPER_SCALES + AGREEMENT_SCALES
PAPER_SESSIONS = 5
#: Recruitment services whose ids are kept and whose completion code is shown.
SOURCES = ("", "prolific")
QUESTION_KINDS = ("choice", "number", "text")
LONGEST_ANSWER = 4000


@dataclass(frozen=True)
class Option:
    """One answer to choose; `text` is None for a question whose words are in texts/."""

    key: str
    text: Words | None = None


@dataclass(frozen=True)
class Question:
    """A question about the participant. `low` and `high` bound a number, `longest` a text in characters."""

    key: str
    kind: str
    text: Words | None = None
    options: tuple[Option, ...] = ()
    low: int = 0
    high: int = 0
    longest: int = 0
    required: bool = False


@dataclass(frozen=True)
class Card:
    """A topic of the sheet. `first`: the sentence to begin with, in the language that the model speaks, or ""."""

    key: str
    title: Words
    text: Words
    first: str = ""


@dataclass(frozen=True)
class Consent:
    """What people agree to. `text` replaces the whole text that texts/ has for it; `payment` becomes a paragraph of it.

    `publish` and `audio`: whether people are asked for these, each by a box of its own.
    """

    version: str
    contact: str
    minutes: int
    publish: bool
    audio: bool
    payment: Words | None = None
    text: Words | None = None


@dataclass(frozen=True)
class Tasks:
    """The talks: `sessions` with each system, at least `min_seconds` and `min_turns` long, about cards of a sheet."""

    sessions: int
    min_seconds: int
    min_turns: int
    sheet: tuple[Card, ...]

    def card(self, key: str) -> Card:
        """The card of that key; raises KeyError."""
        return {card.key: card for card in self.sheet}[key]


@dataclass(frozen=True)
class Ratings:
    """What is asked about each system. `attention`: how many attention checks all rating pages have together."""

    scales: tuple[str, ...]
    comment: bool
    attention: int


@dataclass(frozen=True)
class Compare:
    """What is asked when all systems are known: which is preferred, and which one listened while it spoke."""

    preference: bool
    guess: bool


@dataclass(frozen=True)
class AboutYou:
    """What is asked about the participant."""

    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Exclude:
    """Rules, fixed before anybody comes, by which the analysis leaves participants out; 0 switches a rule off.

    `attention_failed`: who failed at least so many attention checks. `min_minutes`: who took less from consent to end.
    """

    attention_failed: int
    min_minutes: int


@dataclass(frozen=True)
class Completion:
    """How a participant proves to a recruitment service that they took part. `source` is one of SOURCES."""

    source: str
    code: str
    url: str


@dataclass(frozen=True)
class Storage:
    """`database`: an address, relative to the study's folder for SQLite. `retention_days`: 0 keeps data for good.
    `mirror`: a private data set of the hub, OWNER/NAME, that has a copy of everything (mirror.py), or ""."""

    database: str
    retention_days: int
    mirror: str


@dataclass(frozen=True)
class Admin:
    """`token_env`: the environment variable that holds the researcher's token."""

    token_env: str


@dataclass(frozen=True)
class Study:
    """One study. `speaks`: languages of the model. `block`: participants in a balanced block. `folder`: its place."""

    name: str
    title: Words
    languages: tuple[str, ...]
    speaks: tuple[str, ...]
    way: str
    systems: tuple[str, ...]
    model: str
    protocol: str
    seed: int
    block: int
    consent: Consent
    tasks: Tasks
    ratings: Ratings
    compare: Compare
    about_you: AboutYou
    exclude: Exclude
    completion: Completion
    storage: Storage
    admin: Admin
    folder: Path

    @staticmethod
    def read(path: Path) -> Study:
        """The study in a folder or a file; raises Refused with every mistake in it."""
        from webapp.study.parse import draft  # it fills the values of this module

        study, problems = draft(path)
        if problems:
            raise Refused(problems)
        return study

    @property
    def database_url(self) -> str:
        """The database's address; a relative SQLite path begins in the study's folder."""
        scheme, slashes, path = self.storage.database.partition(":///")
        if scheme != "sqlite":
            return self.storage.database
        return f"{scheme}{slashes}{(self.folder / path).resolve()}"

    @property
    def recordings(self) -> Path:
        """Folder of the talks' recordings."""
        return self.folder / "recordings"

    @property
    def journals(self) -> Path:
        """Folder of the participants' journals, which there are where the study has a mirror."""
        return self.folder / "journals"


#: Questions about the participant whose words are in texts/: it is enough to name them.
BUILT_IN = {
    question.key: question
    for question in (
        Question("age", "number", low=18, high=120),
        Question("gender", "choice", options=tuple(map(Option, ("woman", "man", "nonbinary", "other", "unsaid")))),
        Question(
            "education", "choice", options=tuple(map(Option, ("school", "training", "bachelor", "master", "doctorate")))
        ),
        Question("english", "choice", options=tuple(map(Option, ("native", "fluent", "good", "basic")))),
        Question("assistants", "choice", options=tuple(map(Option, ("daily", "weekly", "rarely", "never")))),
        Question("voice_assistants", "choice", options=tuple(map(Option, ("daily", "weekly", "rarely", "never")))),
    )
}
