"""What was done in a study, in sentences that a paper can take over, and in figures the main results.

methods(findings)       # paragraphs
in_short(findings)      # sentences
"""

from __future__ import annotations

from webapp.study.analysis import Findings
from webapp.study.assignment import arms_of
from webapp.study.preference import ROUNDS
from webapp.study.statistics import Comparison
from webapp.study.tables import named, p_text, with_interval

_WAYS = {"typing": "by typing", "voice": "by voice", "either": "by typing or by voice, as they chose"}
_SYSTEMS = {
    "duplex": "a duplex system that listens while it speaks",
    "strict": "a turn-based system that hears nothing while it answers (strict)",
    "barge-in": "a turn-based system that stops at any key or sound (barge-in)",
}
#: Words for small numbers.
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def count(number: int, one: str, many: str = "") -> str:
    """two talks, 12 talks."""
    shown = _NUMBERS[number] if number < len(_NUMBERS) else str(number)
    return f"{shown} {one if number == 1 else many or one + 's'}"


def methods(findings: Findings) -> list[str]:
    """Design, then analysis."""
    return [_design(findings), _excluded(findings), _analysis(findings)]


def _design(findings: Findings) -> str:
    study, tasks = findings.study, findings.study.tasks
    systems = " and ".join(_SYSTEMS[system] for system in study.systems)
    orders = (
        "Participants with odd numbers began with the duplex system, the others with the baseline; labels were fixed, "
        "as in the study of arXiv 2406.15718."
        if study.protocol == "paper"
        else f"The {count(len(arms_of(study)), 'order')} of the systems came equally often in each block of "
        f"{study.block} participants (Williams design), in an order drawn for each block. The letters by which "
        "participants knew the systems, and the sides on which they stood when compared, were drawn for each "
        f"participant. Everything was drawn from the seed {study.seed}."
    )
    asked = f"Each system was rated on {count(len(study.ratings.scales), 'scale')} from 1 to 7"
    asked += f" ({', '.join(map(named, study.ratings.scales))})"
    compared = [
        *(["which system they preferred and how strongly, with no tie allowed"] if study.compare.preference else []),
        *(["which system had listened while it spoke"] if study.compare.guess else []),
    ]
    asked += f". At the end participants said {', and '.join(compared)}." if compared else "."
    checks = f" The rating pages had {count(study.ratings.attention, 'attention check')}."
    return (
        f"In a blind within-subjects study, participants talked {_WAYS[study.way]} with {systems}; all used the model "
        f"{study.model}. {orders} With each system they held {count(tasks.sessions, 'talk')}, each for at least "
        f"{tasks.min_seconds} s and {count(tasks.min_turns, 'turn')}, about topics that were the same for all systems. "
        f"{asked}{checks if study.ratings.attention else ''}"
    )


def _excluded(findings: Findings) -> str:
    rules, people = findings.study.exclude, findings.everybody.people
    consented = int((people["begins"] != "").sum())
    because = [
        *([f"failed at least {count(rules.attention_failed, 'attention check')}"] if rules.attention_failed else []),
        *([f"took less than {count(rules.min_minutes, 'minute')}"] if rules.min_minutes else []),
    ]
    rule = f", or who {' or '.join(because)}" if because else ""
    return (
        f"Of {consented} who gave consent, {findings.n} were analysed. Left out were those who withdrew, whose data "
        f"were deleted, who did not finish, or whom the researcher excluded{rule}; these rules were fixed before the "
        "study began."
    )


def _analysis(findings: Findings) -> str:
    tests = count(len(findings.comparisons), "test")
    return (
        "Ratings of each scale were analysed with an ordinal mixed model: a cumulative probit with fixed effects of "
        "system and position and a random intercept of the participant, fitted by maximum likelihood with 15-point "
        "Gauss-Hermite quadrature (statsmodels, extended). As a check, differences within participants were tested "
        "with the Wilcoxon signed-rank test, zeros after Pratt. They are described by their mean with Student's "
        "interval, and by the Hodges-Lehmann shift with the interval of shifts that the test does not reject, drawn "
        f"linearly between half points. P values were corrected after Holm over {tests}. Preferences are described by "
        f"Bradley-Terry strengths with percentile intervals of {ROUNDS} bootstrap samples of participants, blinding by "
        "Bang's index. Effects of position were tested in the mixed model, of sequence with the Kruskal-Wallis test of "
        "participants' means, of order and side on the preference with exact binomial tests. The interaction panel was "
        "counted from the recordings after the definitions of tau2-bench, with bootstrap intervals by participant. All "
        "intervals are 95 %, all tests two-sided."
    )


def in_short(findings: Findings) -> list[str]:
    """The main results; says so where there are none."""
    if not findings.n:
        return ["Nobody can be analysed yet: no participant has finished and kept to the rules of the study."]
    few = findings.n < 3
    said = [f"{findings.n} {'participant is' if findings.n == 1 else 'participants are'} analysed."]
    if few:
        said.append("Tests and intervals need at least three; what stands below only describes.")
    said += [told for row in findings.comparisons if (told := _difference(row))]
    if not few and len(said) == 1:
        said.append("No difference of ratings is significant after Holm's correction.")
    for row in findings.shares:
        if row.share:
            said.append(f"{row.prefer_first} of {row.n} prefer {row.first} to {row.second} (p {_p(row.p)}).")
    if findings.blinding and (index := findings.blinding[0].index) and not few:
        said.append(f"Blinding index: {with_interval(index)}.")
    return said


def _difference(row: Comparison) -> str:
    """Of the mixed model, or, where the ratings are so far apart that it has no bounds, of the Wilcoxon test."""
    p, of = (row.model_holm, "") if row.model.system else (row.wilcoxon_holm, " (Wilcoxon test)")
    if p is None or p >= 0.05 or row.mean is None:
        return ""
    higher = "higher" if (row.model.system or row.mean).value > 0 else "lower"
    return (
        f"On {named(row.scale)} {row.first} is rated {higher} than {row.second}: {with_interval(row.mean)} points, "
        f"p {_p(p)} after Holm{of}."
    )


def _p(p: float | None) -> str:
    text = p_text(p) or "–"
    return text if text.startswith("<") else f"= {text}"
