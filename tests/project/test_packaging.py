"""What is released agrees with itself: versions, type information, supported Pythons, continuous integration."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from checks.repository import ROOT, read

import prosafeprune


def project() -> dict[str, Any]:
    return tomllib.loads(read(Path("pyproject.toml")))["project"]


def test_the_version_is_the_same_everywhere() -> None:
    assert yaml.safe_load(read(Path("CITATION.cff")))["version"] == prosafeprune.__version__
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", read(Path("CHANGELOG.md")), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == prosafeprune.__version__


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src/prosafeprune/py.typed").is_file()
    assert "Typing :: Typed" in project()["classifiers"]


def test_every_supported_python_is_tested() -> None:
    prefix = "Programming Language :: Python :: 3."
    claimed = {"3." + one.removeprefix(prefix) for one in project()["classifiers"] if one.startswith(prefix)}
    workflow = yaml.safe_load(read(Path(".github/workflows/ci.yml")))
    assert set(workflow["jobs"]["test"]["strategy"]["matrix"]["python"]) == claimed
    assert f">={min(claimed, key=lambda version: int(version[2:]))}" == project()["requires-python"]


def test_the_workflow_and_the_local_script_run_the_same_targets() -> None:
    workflow = yaml.safe_load(read(Path(".github/workflows/ci.yml")))
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    local = re.findall(r"^make (\S+)", read(Path(".ci/run")), re.MULTILINE)
    assert local
    assert set(local) <= {target for step in steps for target in re.findall(r"make (\S+)", step)}


def test_every_target_of_the_makefile_is_explained_by_help() -> None:
    makefile = read(Path("Makefile"))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    explained = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert sorted(explained) == sorted(phony.group(1).split())


def test_the_oldest_versions_tested_are_those_that_are_allowed() -> None:
    lower = dict(re.findall(r"^(\w[\w-]*)==([\w.]+)$", read(Path("constraints-oldest.txt")), re.MULTILINE))
    asked = project()["dependencies"] + project()["optional-dependencies"]["playground"]
    allowed = dict(one.split(">=") for one in asked)
    del allowed["torch"]  # it has no CPU build of that version on PyPI; the workflow tests it
    for name, version in allowed.items():
        assert re.fullmatch(rf"{re.escape(version)}(\.0)*", lower[name]), name
