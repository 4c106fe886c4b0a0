"""Recipes from anywhere: bombs, wrong types, huge numbers; no exception but InputError, in one short line."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from prosafeprune.errors import InputError
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.requests.recipe import Recipe, make_recipe, make_request
from prosafeprune.requests.search import SearchRequest

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nlayers: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "aliases"),
        ("layers: 3\nlayers: 4\n", "'layers' is given twice"),
        ("batch-size: 3\nbatch_size: 4\n", "'batch_size' is given twice"),
        ("model: m\nrank: " + "9" * 5000, "cannot be read as YAML"),
        ("[" * 5000, "cannot be read as YAML"),
        ("? [a, b]\n: c\n", "cannot be read as YAML"),
        ("model: " + "[1, " * 50 + "]" * 50, "cannot be read as YAML|given: "),
        ("model: m\nlayers: !!python/object/apply:os.system ['true']\n", "cannot be read as YAML"),
        ('model: "\\ud83d"\n', "cannot be read as YAML|model: "),
        ("model: m\nbudget: 2020-01-01\n", "budget: "),
        ("rank: !!int ''", "cannot be read as YAML"),
        ("strength: !!float ''", "cannot be read as YAML"),
        ("dequantise: !!bool maybe", "cannot be read as YAML"),
        ("budget: !!timestamp soon", "cannot be read as YAML"),
        ("model: !!binary '='", "cannot be read as YAML|model: "),
        ("seed: 0x" + "f" * 5000, "seed: is too large a number"),
        ("model: m\nrank: 0x" + "f" * 5000, "rank: is too large a number"),
        ('model: m\nlayers: "\\ud83d"', "layers: has a lone surrogate|cannot be read as YAML"),
        ("0x" + "f" * 5000 + ": 1", "cannot be read as YAML"),
        ("model: m\nbatch_size: .inf\n", "batch_size: must be auto or a whole number"),
        ("model: m\n" + "".join(f"x{number}: 1\n" for number in range(9)), "and 4 more"),
        ("- layers\n", "has no settings"),
        ("", "has no settings"),
    ],
)
def test_a_hostile_recipe_is_one_short_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        make_recipe(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_recipe_of_many_settings_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("model: m\n" + "".join(f"a{number}: 1\n" for number in range(20_000)))
    begin = time.process_time()
    with pytest.raises(InputError, match=r"there is no setting 'a0'.*and 19995 more"):
        make_recipe(file)
    assert time.process_time() - begin < 30


class Unwritable:
    def __repr__(self) -> str:
        raise RuntimeError


def nested(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    "value",
    [10**5000, Unwritable(), nested(5000), float("inf"), b"\xff", object()],
    ids=["huge", "unwritable", "deep", "infinite", "bytes", "object"],
)
@pytest.mark.parametrize("name", ["seed", "batch_size", "judge", "model", "dtype", "ability"])
def test_a_value_that_cannot_be_written_is_one_line(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^Settings: ({name}: |cannot be read .RecursionError)") as caught:
        validate_settings(EvaluateRequest, {"model": "m", name: value})
    assert "\n" not in str(caught.value)


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    (tmp_path / "large.yaml").write_text("#" * 2_000_000)
    for name, message in (("pipe", "regular"), ("endless", "regular"), ("large", "too large")):
        with pytest.raises(InputError, match=message):
            make_recipe(tmp_path / f"{name}.yaml")
    with pytest.raises(InputError, match="is not a regular file"):
        make_recipe(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": "0-1000000000000"},
        {"layers": "9" * 5000},
        {"layers": "0-" + "9" * 5000},
        {"layers": 10**12},
        {"layers": "\u00b2"},
        {"max_new_tokens": 10**12},
        {"seed": 2**63},
        {"judge_concurrency": 10**9},
        {"batch_size": "0"},
        {"batch_size": -1},
        {"batch_size": "1.5"},
        {"max_safety_drop": float("nan")},
        {"max_safety_drop": float("inf")},
        {"max_safety_drop": 100.1},
        {"max_safety_drop": -1},
        {"max_safety_drop": "nan"},
        {"strength": float("nan"), "layers": "1"},
        {"budget": "9" * 400 + "m"},
        {"budget": "1e999"},
        {"model": "a\ud83d"},
    ],
)
def test_a_number_without_bounds_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InputError) as caught:
        make_recipe(**{"model": "m", **settings})
    assert len(str(caught.value)) < 600


def test_a_recipe_serves_other_commands_by_the_settings_they_have(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("model: m\nlayers: 3\nrank: 8\nformat: adapter\nsuite: paper\nbudget: 7\n")
    search, compare = make_request(SearchRequest, file, {}), make_request(CompareRequest, file, {"rank": 4})
    assert (search.rank, search.budget, compare.layers, compare.rank, compare.suite) == (8, "7", (3,), 4, "paper")
    file.write_text("model: m\ncolour: red\n")
    with pytest.raises(InputError, match="no setting 'colour'"):
        make_request(SearchRequest, file, {})


def test_records_of_version_0_1_are_still_read() -> None:
    former = {"model": "m", "format": "checkpoint", "memory": "normal", "unmeasured": False}
    assert CompareRequest.model_validate(former) == CompareRequest(model="m")
    assert Recipe.model_validate(former) == Recipe(model="m")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
REQUESTS = (Recipe, SearchRequest, ApplyRequest, CompareRequest, EvaluateRequest)


@given(kind=st.sampled_from(REQUESTS), data=st.data())
def test_any_settings_make_a_request_or_one_line(kind: type, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(kind.model_fields)) | st.text(max_size=10)  # type: ignore[attr-defined]
    settings = data.draw(st.dictionaries(names, VALUES, max_size=4))
    try:
        validate_settings(kind, {"model": "m", **settings})
    except InputError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 5000


LINES = st.sampled_from(
    ["layers", "strength", "budget", "model", "&a", "*a", ": ", "- ", "\n", "  ", "{", "]", "!!", "? ", "|", "'"]
)


@given(
    content=st.one_of(
        st.binary(max_size=200), st.lists(LINES | st.text(max_size=5), max_size=25).map("".join), VALUES.map(yaml.dump)
    )
)
@example(content=BOMB)
def test_any_file_is_a_recipe_or_one_line(content: bytes | str) -> None:
    data = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "r.yaml"
        file.write_bytes(data)
        try:
            recipe = make_recipe(file)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert recipe.model
