"""What README, CONTRIBUTING and the guides name exists: files, headings, commands, settings and rooms."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from checks import commands, paths
from checks.repository import ROOT, read
from checks.site_pages import commands_page, on_page_content

import prosafeprune
from prosafeprune.baselines.registry import METHODS
from prosafeprune.baselines.self_training import SelfTraining
from prosafeprune.baselines.sft import Sft

PAGE = Path("README.md")


@pytest.mark.long
def test_every_command_and_call_shown_is_one_that_the_program_takes() -> None:
    assert commands.problems() == []


@pytest.mark.parametrize("name", METHODS)
def test_the_table_of_methods_has_each_with_its_settings_and_their_defaults(name: str) -> None:
    table = read(ROOT / "docs" / "baselines.md").partition("## The methods\n")[2].partition("\nBy default")[0]
    cells = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    (settings,) = (row[2] for row in cells if f"`{name}`" in row[0])
    if name == "self-training":  # "as `sft`, without --sft-data"
        assert settings.strip().startswith("as `sft`")
        assert SelfTraining.model_fields.keys() == Sft.model_fields.keys() - {"data", "data_sha256"}
        return
    for setting, field in METHODS[name].model_fields.items():
        if setting not in ("plan", "data", "data_sha256"):  # these have options of their own
            found = re.search(rf"`{setting}`(?: ([\d.,e-]*\d))?", settings)
            assert found is not None, setting
            if found[1] is not None:
                default = field.default if isinstance(field.default, tuple) else (field.default,)
                assert tuple(map(float, found[1].split(","))) == default, setting


def test_the_page_of_commands_is_what_help_prints() -> None:
    page = commands_page()
    for shown in (
        "## prompts mine\n",
        "| `--shares` | Percent of the prompts for calibration, validation and test.",
        "| `--answer-field` | Field or column of the answers. \\[default: completion] |",
    ):
        assert shown in page
    assert "--source" not in page  # hidden


def test_the_site_shows_no_roles_of_docstrings() -> None:
    shown = "<p>other fields of :class:<code>Recipe</code>, as :func:<code>prune</code>.</p>"
    assert on_page_content(shown) == "<p>other fields of <code>Recipe</code>, as <code>prune</code>.</p>"


def test_every_file_folder_and_heading_named_exists() -> None:
    assert paths.problems() == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prosafeprune prune MODEL --strenght 1", "strenght"),
        ("prosafeprune prunes MODEL", "no command"),
        ("prosafeprune prompts dig LOGS -o DIR", "no command 'prompts dig'"),
        ("prosafeprune prompts mine LOGS -o DIR --limit none", "limit"),
        ("prosafeprune prune MODEL -o", "-o"),
        ("prosafeprune apply ADAPTER MODEL", "output"),
        ("prosafeprune prune MODEL --pooling mean", "pooling"),
        ("prosafeprune prune MODEL --memory low", "layers"),
        ("prosafeprune prune 'MODEL", "quotation"),
    ],
)
def test_a_wrong_command_is_found(text: str, problem: str) -> None:
    with commands.jobs_stopped():
        found = commands.command_problem(commands.Shown(PAGE, 1, text))
    assert found is not None
    assert problem in found.lower()


def test_commands_are_read_from_blocks_and_sentences_with_their_continued_lines() -> None:
    text = "See `prosafeprune prune --help`.\n```\nOMP=1 torchrun -m prosafeprune search M \\\n    -o D # why\n```\n"
    shown = list(commands.shown_commands(PAGE, text))
    assert [(one.line, one.whole) for one in shown] == [(1, False), (3, True)]
    assert shown[1].text.split() == ["prosafeprune", "search", "M", "-o", "D", "#", "why"]
    with commands.jobs_stopped():
        assert [commands.command_problem(one) for one in shown] == [None, None]


def test_a_shortened_command_in_a_sentence_may_lack_arguments_but_not_invent_options() -> None:
    fine, wrong = commands.shown_commands(PAGE, "`prosafeprune apply --strength` and `prosafeprune apply --force`")
    assert commands.command_problem(fine) is None
    assert "no option --force" in str(commands.command_problem(wrong))


def test_python_that_is_not_public_or_takes_unknown_settings_is_found() -> None:
    lines = ["from prosafeprune.method.plan import Plans", "import prosafeprune", "prosafeprune.prune('m', strenght=1)"]
    block = "\n".join(["```python", *lines, "prosafeprune.purge('m')", "```", ""])
    (shown,) = commands.shown_python(PAGE, block)
    assert shown.line == 2
    found = " ".join(commands.python_problems(shown))
    assert "prosafeprune.method.plan has no Plans" in found
    assert "no setting 'strenght'" in found
    assert "prosafeprune.purge is not public" in found


def test_missing_files_and_headings_are_found() -> None:
    assert not paths.exists("method/nowhere.py")
    assert paths.exists("method/subspaces.py")
    assert paths.exists("tests/project/")
    assert paths.link_problem(PAGE, "docs/nowhere.md") == "no such file"
    assert paths.link_problem(PAGE, "CONTRIBUTING.md#nowhere") == "no such heading"
    assert paths.link_problem(PAGE, "CONTRIBUTING.md#glossary") is None


def test_the_reference_has_everything_that_is_public() -> None:
    page = read(Path("docs/reference.md"))
    functions = re.findall(r"members: \[(.*)\]", page)[0].split(", ")
    shown = {*functions, *re.findall(r"^::: prosafeprune\.([A-Za-z_]+)$", page, re.MULTILINE)} - {"api"}
    assert shown == set(prosafeprune.__all__)


def test_each_module_in_the_table_of_bad_input_raises() -> None:
    section = read(Path("CONTRIBUTING.md")).split("## Where bad input is caught")[1].split("\n## ")[0]
    named = {name for name in re.findall(r"`([^`]+\.py)`", section) if (ROOT / "src/prosafeprune" / name).exists()}
    assert len(named) > 40
    silent = [name for name in sorted(named) if "raise " not in read(Path("src/prosafeprune", name))]
    assert silent == []


def test_the_table_of_rooms_is_the_tree_in_the_order_that_is_enforced() -> None:
    rows = re.findall(r"^\| `(\w+(?:/|\.py))`", read(Path("CONTRIBUTING.md")), re.MULTILINE)
    listed = [row.removesuffix("/").removesuffix(".py") for row in rows if (ROOT / "src/prosafeprune" / row).exists()]
    children = {path.stem for path in (ROOT / "src/prosafeprune").iterdir() if path.suffix in ("", ".py")}
    assert set(listed) == children - {"__init__", "__main__", "__pycache__"}

    contracts = tomllib.loads(read(Path("pyproject.toml")))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    enforced = [name.strip() for layer in reversed(layers) for name in layer.split(":")]
    assert listed == enforced
