from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.study_files import study
from webapp.study.aligned import Aligned
from webapp.study.card import card_of, shown_model
from webapp.study.definition import Study
from webapp.study.dictionary import rows_shapes, tables_of
from webapp.study.export import Options
from webapp.study.frames import FATES
from webapp.study.gather import Gathered


def gathered(of: Study, people: int = 2) -> Gathered:
    rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in tables_of(of)}
    rows["participants"] = [
        {"participant": f"p-{n}", "began_at": f"2026-0{n + 1}-02T10:00:00", "consent_version": "2", "publish": n > 0}
        for n in range(people)
    ]
    rows["ratings"] = [{"participant": row["participant"]} for row in rows["participants"]]
    flow = {"came": 9, **dict.fromkeys(FATES, 1), "exported": people}
    return Gathered(rows, flow, ())


def card(of: Study, people: int = 2, aligned: Aligned | None = None, mark: Any = None, **options: Any) -> str:
    tables = (*tables_of(of), *(rows_shapes() if aligned else ()))
    return card_of(of, gathered(of, people), tables, Options(**options), aligned, mark)


def front(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_the_first_lines_are_what_the_hub_reads(tmp_path: Path) -> None:
    title = ('zh = "与计算机程序对话"}\n', 'zh = "\\"Talks\\": # 1"}\n')
    of = study(tmp_path, title, ('languages = ["en"]', 'languages = ["zh"]'))
    values = front(card(of))
    assert values["license"] == "other" and values["license_name"] == "fill-in-before-publishing"
    assert (values["language"], values["pretty_name"], values["size_categories"]) == (
        ["en", "zh"],
        '"Talks": # 1',
        ["n<1K"],
    )
    # a table without rows has none: `datasets` would not load it
    assert values["configs"] == [
        {"config_name": "participants", "data_files": "parquet/participants.parquet"},
        {"config_name": "ratings", "data_files": "parquet/ratings.parquet", "default": True},
    ]
    assert front(card(of, formats=("csv", "jsonl")))["configs"][0]["data_files"] == "jsonl/participants.jsonl"


def test_training_data_have_configs_of_their_own_where_there_are_some(tmp_path: Path) -> None:
    of, aligned = study(tmp_path), Aligned(rows=[{"id": 0}], left_out=Counter({"too short": 3}))
    text = card(of, aligned=aligned, rows=True, min_overall=5)
    assert front(text)["configs"][-1] == {"config_name": "rows", "data_files": "rows/rows.jsonl"}
    assert "1 talks with the system that listens" in text and "rated at least 5 overall" in text
    assert "left out: too short: 3" in text


def test_it_says_who_took_part_and_what_became_of_them(tmp_path: Path) -> None:
    text = card(study(tmp_path))
    assert "| opened the first page | 9 |" in text and "| **in this export** | **2** |" in text
    assert all(f"| {words} | 1 |" in text for words in FATES.values())
    assert "from 2026-01-02 to 2026-02-02" in text and "consent text version 2" in text
    assert "2 or more failed attention checks" in text
    assert "at least 60 s and 3 turns" in text and "blocks of 4" in text


def test_only_an_export_for_oneself_is_marked(tmp_path: Path) -> None:
    of = study(tmp_path)
    assert "Not for publication" not in card(of) and "You may publish my talks and my answers" in card(of)
    text = card(of, audience="all")
    assert "> **Not for publication.**" in text and "1 of 2 also agreed to publishing." in text


def test_a_simulated_study_says_so(tmp_path: Path) -> None:
    of = study(tmp_path)
    assert "Simulated" not in card(of)
    assert "> **Simulated.** Nobody took part" in card(of, mark={"seed": 1})


def test_the_paper_s_protocol_and_nobody_at_all(tmp_path: Path) -> None:
    of = study(tmp_path, preset="paper")
    text = card(of, people=0)
    assert "protocol of arXiv 2406.15718" in text and "In this export: 0 participants" in text


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("embedded", "embedded"), ("ann/mini", "ann/mini"), ("/home/ann/mini", "mini"), ("./mini/", "mini"),
        ("~/models/mini", "mini"), ("a/b/c", "c"),
    ],
)  # fmt: skip
def test_of_a_model_s_folder_only_the_last_part_is_told(model: str, shown: str) -> None:
    assert shown_model(model) == shown
