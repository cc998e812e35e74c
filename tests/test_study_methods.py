from pathlib import Path

from tests.study_files import THREE, study
from tests.study_people import person
from webapp.study.analysis import Findings, findings_of
from webapp.study.definition import Study
from webapp.study.frames import Person, frames_of
from webapp.study.methods import count, in_short, methods


def found(made: Study, *people: Person) -> Findings:
    return findings_of(made, frames_of(made, people))


def many(*more: Person) -> list[Person]:
    people = [
        person(f"p-{n}", duplex=5 + n % 3, strict=2 + n % 2, begins=("duplex", "strict")[n % 2],
               compare={"preference": "1-more" if n % 4 else "2-more", "guess": "1", "guess_sure": 2})
        for n in range(16)
    ]  # fmt: skip
    return [*people, *more]


def test_numbers_in_words() -> None:
    assert [count(n, "talk") for n in (0, 1, 3, 12)] == ["no talks", "one talk", "three talks", "12 talks"]


def test_methods_say_what_the_study_file_says(tmp_path: Path) -> None:
    made = study(tmp_path, *THREE, ("min_minutes = 0", "min_minutes = 4"))
    design, excluded, analysis = methods(found(made, *many(person("q", failed_checks=2), person("r", minutes=1.0))))
    assert "six orders" in design and f"seed {made.seed}" in design and "three talks" in design and "60 s" in design
    assert "human-likeness" in design and "two attention checks" in design and "no tie" in design
    assert "Of 18 who gave consent, 16 were analysed" in excluded
    assert "failed at least two attention checks or took less than four minutes" in excluded
    assert "over 15 tests" in analysis and "Pratt" in analysis


def test_the_paper_s_protocol_is_told(tmp_path: Path) -> None:
    design = methods(found(study(tmp_path, preset="paper")))[0]
    assert "odd numbers" in design and "Williams" not in design and "drawn" not in design


def test_in_short(tmp_path: Path) -> None:
    said = in_short(found(study(tmp_path), *many()))
    assert said[0] == "16 participants are analysed."
    (overall,) = [line for line in said if line.startswith("On overall duplex is rated higher than strict: 3.")]
    assert overall.endswith("p = 0.002 after Holm (Wilcoxon test).")  # no rating of strict is as high as one of duplex
    assert any("prefer duplex to strict (p = " in line for line in said)
    assert any(line.startswith("Blinding index: 0.00 [") for line in said)


def test_in_short_of_nobody_of_one_and_of_no_difference(tmp_path: Path) -> None:
    made = study(tmp_path)
    assert in_short(found(made, person("p-1", status="consented")))[0].startswith("Nobody can be analysed yet")
    one = in_short(found(made, person("p-1")))
    assert one[:2] == [
        "1 participant is analysed.",
        "Tests and intervals need at least three; what stands below only describes.",
    ]
    assert not any("rated" in line for line in one)
    arms = ("duplex", "strict")
    mixed = in_short(found(made, *(person(f"p-{n}", 3 + n % 5, 2 + n % 4, begins=arms[n // 2 % 2]) for n in range(24))))
    assert any("overall duplex is rated higher" in line and line.endswith("after Holm.") for line in mixed)
    same = in_short(found(made, *(person(f"p-{n}", duplex=3 + n % 3, strict=3 + (n + 1) % 3) for n in range(12))))
    assert "No difference of ratings is significant after Holm's correction." in same
