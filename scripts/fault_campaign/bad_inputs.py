"""Generated bad inputs of every command: each ends in one line and an exit code, and nothing else is touched."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fault_campaign import mutations, options
from fault_campaign.children import run
from fault_campaign.figures import Figures
from fault_campaign.mutations import Mutation
from fault_campaign.world import LAYERS, World, applying, evaluating, pruning, searching

RUN_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
ANY_JSON = (mutations.spoil_json, mutations.spoil_json, mutations.spoil_bytes)
NEVER = (mutations.deep_json, mutations.invalid_utf8)
"""Spoil a file that is read so that no command may succeed."""
Tries = Callable[[World, Path, random.Random], "Bad"]


@dataclass(frozen=True)
class Bad:
    """A command with one bad input."""

    arguments: list[object]
    what: str
    may_succeed: bool = True
    """Whether what is wrong may have no effect, such as a value that nobody reads."""
    resumes: Path | None = None
    """A folder that the command continues, and may change."""


def campaign(world: World, place: Path, count: int, figures: Figures, seed: int) -> None:
    """Try so many bad inputs, of each kind in turn."""
    kinds = list(_kinds())
    for number in range(count):
        kind = kinds[number % len(kinds)]
        case = place / f"bad-{number}"
        (case / "work").mkdir(parents=True)
        bad = kind(world, case, random.Random(f"{seed} {number}"))
        before = _hashes(case, bad.resumes)
        ended = run(bad.arguments, _inside(case), cache=case / "work" / "cache")
        figures.cases["bad inputs"] += 1
        what = f"{number} {bad.arguments[0]}, {bad.what}"
        figures.check_end(ended, what, may_succeed=bad.may_succeed)
        if _hashes(case, bad.resumes) != before:
            figures.fault("leftovers", f"{what}: files of the input were changed, or others written", ended.err)
        writes_model = bad.arguments[0] in ("prune", "apply") and bad.resumes is None
        if ended.code != 0 and writes_model and (case / "out").exists():
            figures.fault("broken outputs", what, ended.err)
        shutil.rmtree(case)


def _inside(case: Path) -> Callable[[], None]:
    def setup() -> None:
        import os
        import tempfile

        os.chdir(case / "work")
        tempfile.tempdir = str(case / "work")

    return setup


def _hashes(case: Path, resumed: Path | None) -> dict[str, str]:
    """Return the hash of every file that the command may not touch."""
    found = {}
    for file in sorted(case.rglob("*")):
        inside = file.relative_to(case)
        ours = inside.parts[0].startswith(("out", ".out", "work")) or (resumed is not None and resumed in file.parents)
        if not ours and file.is_file() and not file.is_symlink():
            found[str(inside)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def _kinds() -> Iterator[Tries]:
    yield _prompt_file
    for name in RUN_FILES:
        yield _model_file(name, (*ANY_JSON, *NEVER, mutations.no_file))
    yield _model_file("chat_template.jinja", (_odd_template,))
    yield _model_file("model.safetensors.index.json", (*ANY_JSON, *NEVER, mutations.no_file))
    yield _weights
    yield _adapter("prosafeprune.json")
    yield _adapter("adapter_config.json")
    yield _adapter("adapter_model.safetensors")
    yield _record("evaluation")
    yield _record("search")
    yield _against
    yield _answers
    yield _recipe
    yield _gguf
    for _ in range(4):
        yield _option


def _prompt_file(world: World, case: Path, draw: random.Random) -> Bad:
    file = case / f"prompts.{draw.choice(['txt', 'csv', 'jsonl'])}"
    shutil.copy(world.prompts("harmful", file.suffix[1:]), file)
    never: tuple[Mutation, ...] = (mutations.invalid_utf8, mutations.no_file)
    usual: tuple[Mutation, ...] = (
        mutations.spoil_bytes,
        mutations.spoil_json if file.suffix == ".jsonl" else _odd_text,
    )
    spoil = draw.choice((*never, *usual, *usual))
    what = spoil(file, draw)
    arguments = (
        [*evaluating(world, case / "out"), "--test-harmful", file]
        if draw.random() < 0.8
        else [*pruning(world, case / "out", *LAYERS), "--benign", file]
    )
    return Bad(arguments, what, may_succeed=spoil not in never)


def _odd_text(file: Path, draw: random.Random) -> str:
    odd = draw.choice(['"', ",,,", "\r", "\0", "\u2028", "\ufeff", "x" * 200_000, '"a\n', "\x1b[2J"])
    text = file.read_text()
    at = draw.randrange(len(text))
    file.write_text(text[:at] + odd + text[at:], newline="")
    return f"{file.name}: {ascii(odd)[:20]} at {at}"


def _odd_template(file: Path, draw: random.Random) -> str:
    user = "{{ messages[0]['content'] }}"
    text = draw.choice(
        [
            *(
                "",
                "{% if %}",
                "{{ 1 / 0 }}",
                "no words",
                "{{ messages.__class__ }}",
                "{{ raise_exception('\x1b[2J no') }}",
            ),
            *(
                "{{ 'a' * 3000000 }}" + user,
                "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
                user * 3,
                "\ud83d" + user,
            ),
            "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}" + user,
            "{% set n = namespace(s='aa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}" + user,
        ]
    )
    file.write_text(text, errors="replace")
    return f"chat template {ascii(text)[:60]}"


def _copy(world: World, case: Path) -> Path:
    return Path(shutil.copytree(world.model, case / "model"))


def _model_file(name: str, ways: tuple[Mutation, ...]) -> Tries:
    def tries(world: World, case: Path, draw: random.Random) -> Bad:
        model = _copy(world, case)
        spoil = draw.choice(ways)
        what = spoil(model / name, draw)
        arguments = draw.choice(
            [
                pruning(world, case / "out", *LAYERS, model=model),
                pruning(world, case / "out", *LAYERS, "--memory", "low", "--unmeasured", model=model),
                evaluating(world, case / "out", model=model),
            ]
        )
        read_anyway = name in ("config.json", "tokenizer.json")
        return Bad(arguments, what, may_succeed=not (read_anyway and spoil in NEVER))

    return tries


def _weights(world: World, case: Path, draw: random.Random) -> Bad:
    model = _copy(world, case)
    shard = draw.choice(sorted(model.glob("*.safetensors")))
    data = bytearray(shard.read_bytes())
    header = int.from_bytes(data[:8], "little")
    how = draw.choice(["cut", "NaN", "name", "length", "header"])
    if how == "cut":
        del data[draw.randrange(len(data)) :]
    elif how == "NaN":
        at = 8 + header + 4 * draw.randrange((len(data) - 8 - header) // 4)
        data[at : at + 4] = b"\xff\xff\xff\x7f"
    elif how == "name":
        data[8 : 8 + header] = data[8 : 8 + header].replace(b".weight", b".weighx", 1)
    elif how == "length":
        data[:8] = draw.choice([0, 1, 2**40, 2**64 - 1, header + 7]).to_bytes(8, "little")
    else:
        data[8 + draw.randrange(header)] = draw.choice(b'{}",:[]0')
    shard.write_bytes(data)
    arguments = draw.choice(
        [pruning(world, case / "out", *LAYERS, model=model), evaluating(world, case / "out", model=model)]
    )
    return Bad(arguments, f"{shard.name}: {how}", may_succeed=how == "header")


def _adapter(name: str) -> Tries:
    def tries(world: World, case: Path, draw: random.Random) -> Bad:
        adapter = Path(shutil.copytree(world.adapter, case / "adapter"))
        is_weights = name.endswith(".safetensors")
        ways: tuple[Mutation, ...] = (mutations.spoil_bytes,) if is_weights else (*ANY_JSON, *NEVER, mutations.no_file)
        spoil = draw.choice(ways)
        what = spoil(adapter / name, draw)
        if name == "adapter_config.json" or draw.random() < 0.2:
            arguments = evaluating(world, case / "out", model=adapter)
            return Bad(
                arguments, f"adapter, {what}", may_succeed=not (spoil in NEVER and name == "adapter_config.json")
            )
        strength = [] if draw.random() < 0.5 else ["--strength", 0.5]
        arguments = applying(world, case / "out", *strength, adapter=adapter)
        return Bad(arguments, f"adapter, {what}", may_succeed=not (spoil in NEVER or is_weights))

    return tries


def _record(kind: str) -> Tries:
    def tries(world: World, case: Path, draw: random.Random) -> Bad:
        out = Path(shutil.copytree(world.folder / kind, case / "out"))
        file = draw.choice(sorted(one for one in out.iterdir() if one.suffix in (".json", ".jsonl")))
        what = draw.choice((*ANY_JSON, *NEVER, mutations.no_file))(file, draw)
        if kind == "evaluation":
            arguments = evaluating(world, out)
        elif draw.random() < 0.5:
            arguments = pruning(world, case / "out-new", "--search", out, "--choose", 1)
        else:
            arguments = searching(world, out)
        return Bad(arguments, f"a kept {kind}, {what}", resumes=out)

    return tries


def _against(world: World, case: Path, draw: random.Random) -> Bad:
    earlier = Path(shutil.copytree(world.evaluation, case / "earlier"))
    file = draw.choice(sorted(one for one in earlier.iterdir() if one.suffix in (".json", ".jsonl")))
    what = draw.choice((*ANY_JSON, *NEVER, mutations.no_file))(file, draw)
    return Bad(evaluating(world, case / "out", "--against", earlier), f"--against, {what}")


def _answers(world: World, case: Path, draw: random.Random) -> Bad:
    file = case / "answers.jsonl"
    shutil.copy(world.answers, file)
    spoil = draw.choice((*ANY_JSON, *NEVER, mutations.no_file))
    what = spoil(file, draw)
    more = draw.choice([["-o", case / "out.jsonl"], ["--labels", "label"], ["--sample", "3", "-o", case / "out"]])
    return Bad(["judge", file, *more], what, may_succeed=spoil not in (*NEVER, mutations.no_file))


def _recipe(world: World, case: Path, draw: random.Random) -> Bad:
    file = case / "recipe.yaml"
    shutil.copy(world.recipe, file)
    if draw.random() < 0.4:
        what = draw.choice((mutations.spoil_bytes, mutations.invalid_utf8, mutations.no_file))(file, draw)
    else:
        odd = draw.choice(
            [
                *("a: &a [x]\nb: *a", "layers: [", "!!python/object/apply:os.system [id]", "layers: 0-1000000000000"),
                *(
                    "rank: 2\nrank: 3",
                    "\t- x",
                    "? [a]\n: b",
                    "strength: .nan",
                    "max_safety_drop: .inf",
                    "- 1",
                    "seed: 1e99",
                ),
                *(
                    "[" * 5000,
                    "judge: {a: b}",
                    "layers: 2001-01-01",
                    "x: " + "y" * 900_000,
                    "strength: [0.5, 2]",
                    "rank: ~",
                ),
            ]
        )
        file.write_text(f"{file.read_text()}{odd}\n")
        what = f"recipe with {ascii(odd)[:40]}"
    return Bad(pruning(world, case / "out", "--recipe", file), what)


def _gguf(world: World, case: Path, draw: random.Random) -> Bad:
    file = case / "model.gguf"
    shutil.copy(world.gguf, file)
    spoil = draw.choice((mutations.spoil_bytes, mutations.spoil_bytes, mutations.no_file))
    what = spoil(file, draw)
    return Bad(pruning(world, case / "out", *LAYERS, model=file), what, may_succeed=spoil is not mutations.no_file)


def _option(world: World, case: Path, draw: random.Random) -> Bad:
    out = case / "out"
    commands = {
        "prune": pruning(world, out, *LAYERS),
        "search": searching(world, out),
        "apply": applying(world, out),
        "evaluate": evaluating(world, out),
        "judge": ["judge", world.answers, "-o", case / "out.jsonl"],
    }
    name = draw.choice(list(commands))
    option, value = options.odd_option(name, draw)
    return Bad([*commands[name], option, *([] if value is None else [value])], f"{option} {ascii(value)[:60]}")
