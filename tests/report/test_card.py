"""The model card: our text cannot be hidden, the licence is kept, and bad news is in it."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.pages import measurement, record
from helpers.prune_records import PLAN
from markdown_it import MarkdownIt

from prosafeprune.evaluation.scores import Scores
from prosafeprune.evaluation.spot_check import SpotCheck
from prosafeprune.report.card import write_card
from prosafeprune.report.record import UnmeasuredRecord


def card(
    folder: Path,
    base_card: str | None = None,
    *,
    was: int = 20,
    now: int = 50,
    converted: bool = False,
    **settings: Any,
) -> str:
    """Return the card of a model pruned from one with this card."""
    source, output = folder / "base", folder / "out"
    source.mkdir(parents=True)
    output.mkdir()
    if base_card is not None:
        (source / "README.md").write_bytes(base_card.encode("utf-8", "surrogateescape"))
    made = record(measurement(was, 95), measurement(now, 95), PLAN, **settings)
    write_card(output, made, settings.get("base_model"), source, converted=converted)
    return (output / "README.md").read_text(encoding="utf-8")


def metadata(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


@pytest.mark.parametrize("ending", ["```\nprint()", "~~~~", "<!-- to do", "<details><summary>x", "<style>\n* {"])
def test_nothing_in_the_base_card_can_hide_ours(ending: str, tmp_path: Path) -> None:
    text = card(tmp_path, f"---\nlicense: mit\n---\n# Base\n\n{ending}")
    assert text.index("pruned to reduce over-refusal") < text.index("| base model |") < text.index("# Base")
    assert text.index("Method: ProSafePrune") < text.index("describes the base model as it was")
    assert text.rstrip().endswith(ending)


@pytest.mark.parametrize(
    "front_matter",
    [
        "license: mit\ntitle: a: b",
        "license: 'mit'\n\tx: [",
        "- a list\nlicense: mit",
        "license: mit\nnumber: " + "9" * 5000,
        "license: mit\ndeep: " + "[" * 5000,
    ],
)
def test_broken_metadata_keeps_the_licence(front_matter: str, tmp_path: Path) -> None:
    text = card(tmp_path, f"---\n{front_matter}\n---\n# Base\n")
    assert metadata(text)["license"] == "mit"
    assert text.rstrip().endswith("# Base")


def test_a_converted_model_is_not_said_to_load_like_its_base_model(tmp_path: Path) -> None:
    base = "---\nlibrary_name: mlx\nlicense: mit\n---\n# Base\n"
    text = card(tmp_path / "converted", base, converted=True)
    assert "at the same cost" not in text and "an ordinary checkpoint in 16 bits" in text
    assert metadata(text)["library_name"] == "transformers"
    text = card(tmp_path / "as-it-is", base)
    assert "at the same cost" in text and metadata(text)["library_name"] == "mlx"


def test_norwegian_stays_a_language(tmp_path: Path) -> None:
    text = card(tmp_path, "---\nlanguage:\n- en\n- no\ninference: false\n---\n# Base\n")
    assert (metadata(text)["language"], metadata(text)["inference"]) == (["en", "no"], False)


def test_metadata_without_an_end_keeps_the_licence_and_the_text(tmp_path: Path) -> None:
    text = card(tmp_path, "---\nlicense: apache-2.0\n\n# Base\n")
    assert metadata(text)["license"] == "apache-2.0"
    assert text.rstrip().endswith("# Base")


@pytest.mark.parametrize(
    ("tags", "kept"), [("5", []), ("tiny", ["tiny"]), ("[a, 5, b]", ["a", "b"]), ("{a: 1}", []), ("", [])]
)
def test_tags_of_any_type_are_read(tags: str, kept: list[str], tmp_path: Path) -> None:
    text = card(tmp_path, f"---\nlicense: mit\ntags: {tags}\n---\n")
    assert metadata(text)["tags"] == [*kept, "prosafeprune", "over-refusal"]


def test_scores_and_base_of_the_base_model_are_not_taken_over(tmp_path: Path) -> None:
    base = "---\nlicense: mit\nlanguage: en\nbase_model: org/grandparent\nmodel-index: [{name: x, results: []}]\n---\n"
    found = metadata(card(tmp_path, base, base_model=None))
    (index,) = found.pop("model-index")
    assert [result["dataset"]["name"] for result in index["results"]] == ["pseudo-harmful", "harmful"]
    assert [result["metrics"][0]["type"] for result in index["results"]] == ["compliance_rate", "safety_score"]
    assert [result["metrics"][0]["value"] for result in index["results"]] == [50.0, 95.0]
    assert found == {
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "license": "mit",
        "language": "en",
        "tags": ["prosafeprune", "over-refusal"],
    }


def test_windows_newlines_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    text = card(tmp_path, "\ufeff---\r\nlicense: mit\r\n---\r\n# Base\r\n")
    assert metadata(text)["license"] == "mit"


def test_a_folder_in_place_of_the_card_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").mkdir()
    (tmp_path / "out").mkdir()
    write_card(tmp_path / "out", record(measurement(20, 95), measurement(50, 95), PLAN), None, tmp_path / "base")
    assert "pruned to reduce" in (tmp_path / "out" / "README.md").read_text()


def test_a_lower_compliance_rate_is_said(tmp_path: Path) -> None:
    worse = card(tmp_path / "worse", was=50, now=20)
    assert "it answers fewer harmless, risky-sounding requests" in worse
    assert "**C.R. fell by 30.0 points.**" in worse
    better = card(tmp_path / "better")
    assert "it answers more harmless, risky-sounding requests" in better
    assert "fell" not in better


def test_no_local_path_is_in_the_card(tmp_path: Path) -> None:
    text = card(tmp_path, model="/home/me/models/tiny-7b")
    assert "tiny-7b" in text
    assert "/home/me" not in text


def test_usage_is_three_lines_before_the_figures_and_the_base_card_comes_last(tmp_path: Path) -> None:
    text = card(tmp_path, "---\nlicense: mit\n---\n# Base\n\nIt refuses nothing.\n")
    assert text.index("# ") < text.index("from transformers import pipeline") < text.index("| base model |")
    assert text.index("what it says about refusals") < text.index("# Base")
    usage = text.split("```python\n")[1].split("```")[0]
    compile(usage, "card", "exec")
    assert len([line for line in usage.splitlines() if line]) == 3


def test_what_a_record_says_is_shown_as_it_is(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)> [x](http://x) | **b** `c`\n# H\\"
    was, now = measurement(20, 95), measurement(50, 60)
    made = record(was, now, PLAN, max_safety_drop=1.0)

    def titled(scores: Scores) -> Scores:
        return scores.model_copy(update={"sets": tuple(one.model_copy(update={"title": evil}) for one in scores.sets)})

    scores = {"source": titled(made.source), "result": titled(made.result)}
    checked = SpotCheck(prompts={}, changes=made.changes, **scores)
    write_card(tmp_path, made.model_copy(update={"judge": evil, "spot_check": checked, **scores}), evil, tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert not re.search("<(img|a|h[2-6])[ >]", html) and html.count("<h1>") == 1
    shown = unescape(re.sub("<[^>]*>", "", html))
    in_line = evil.replace("\n", " ")
    assert shown.lstrip().startswith(in_line)
    assert all(f"{before}{in_line}" in shown for before in ("100 prompts of ", "Spot check, "))
    assert f"judged by {in_line.replace('`', chr(39))}." in shown


def test_an_unmeasured_card_has_no_scores(tmp_path: Path) -> None:
    made = record(measurement(20, 95), measurement(50, 95), PLAN)
    values = {name: getattr(made, name) for name in UnmeasuredRecord.model_fields if hasattr(made, name)}
    unmeasured = UnmeasuredRecord(**{**values, "measured": False})
    write_card(tmp_path, unmeasured, "org/tiny", tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "# org/tiny, pruned to reduce over-refusal, not measured" in text
    assert "S.S." not in text
    assert "95 %" not in text
    assert metadata(text)["base_model"] == "org/tiny"


def test_no_change_has_no_minus_sign(tmp_path: Path) -> None:
    made = record(measurement(20, 95), measurement(20, 95), PLAN)
    change = made.safety_change.model_copy(update={"points": -0.04, "low": -1.26, "high": -0.0})
    made = made.model_copy(update={"changes": dict.fromkeys(made.changes, change)})
    write_card(tmp_path, made, None, tmp_path)
    assert "| +0.0 [-1.3, +0.0] |" in (tmp_path / "README.md").read_text(encoding="utf-8")
