"""Generated bad inputs of every command: each ends in one line and an exit code, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from fault_campaign import bad_folders, bad_gguf, bad_logs, bad_models, bad_servers, bad_weights, mutations, options
from fault_campaign.cases import Bad, Tries
from fault_campaign.children import Setup, run
from fault_campaign.figures import Figures
from fault_campaign.mutations import ANY_JSON, NEVER, Mutation
from fault_campaign.world import LAYERS, SEARCHED, World, applying, evaluating, pruning, searching

RUN_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def campaign(world: World, place: Path, numbers: Sequence[int], seed: int, figures: Figures) -> None:
    """Try bad inputs of these numbers; their kinds take turns."""
    kinds = list(_kinds())
    for number in numbers:
        kind = kinds[number % len(kinds)]
        case = place / f"bad-{number}"
        (case / "work").mkdir(parents=True)
        bad = kind(world, case, random.Random(f"{seed} {number}"))
        before = _hashes(case, bad.resumes)
        ended = run(bad.arguments, _inside(case, bad.setup), cache=case / "work" / "cache")
        figures.cases["bad inputs"] += 1
        what = f"{number} {bad.arguments[0]}, {bad.what}"
        figures.check_end(ended, what, may_succeed=bad.may_succeed)
        if _hashes(case, bad.resumes) != before:
            figures.fault("leftovers", f"{what}: files of the input were changed, or others written", ended.err)
        writes_model = bad.arguments[0] in ("prune", "apply") and bad.resumes is None
        if ended.code != 0 and writes_model and (case / "out").exists():
            figures.fault("broken outputs", what, ended.err)
        shutil.rmtree(case)


def _inside(case: Path, further: Setup | None) -> Setup:
    def setup() -> None:
        import os
        import tempfile

        os.chdir(case / "work")
        tempfile.tempdir = str(case / "work")
        if further is not None:
            further()

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
        yield bad_models.model_file(name, (*ANY_JSON, *NEVER, mutations.no_file))
    yield bad_models.model_file("chat_template.jinja", (bad_models.odd_template,))
    yield bad_models.model_file("model.safetensors.index.json", (*ANY_JSON, *NEVER, mutations.no_file))
    yield bad_models.seldom_there
    yield bad_models.odd_config
    yield bad_models.weights
    yield bad_weights.header
    yield bad_weights.index
    yield bad_weights.foreign_adapter
    yield _adapter("prosafeprune.json")
    yield _adapter("adapter_config.json")
    yield _adapter("adapter_model.safetensors")
    for kind in bad_folders.RESUMED:
        yield bad_folders.kept(kind)
    yield bad_folders.against
    yield bad_folders.cached
    yield bad_servers.server
    yield bad_servers.judging_server
    yield _answers
    yield _recipe
    yield bad_models.gguf
    yield bad_gguf.damaged
    yield bad_gguf.split
    yield bad_gguf.beside
    yield bad_logs.log
    yield bad_logs.policies
    for _ in range(4):
        yield _option
    yield _two_options


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


def _adapter(name: str) -> Tries:
    def tries(world: World, case: Path, draw: random.Random) -> Bad:
        adapter = Path(shutil.copytree(world.adapter, case / "adapter"))
        is_weights = name.endswith(".safetensors")
        ways: tuple[Mutation, ...] = (mutations.spoil_bytes,) if is_weights else (*ANY_JSON, *NEVER, mutations.no_file)
        spoil = draw.choice(ways)
        # The base is named by its path from the adapter, which was moved.
        config = json.loads((adapter / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = str(world.model)
        (adapter / "adapter_config.json").write_text(json.dumps(config))
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


def _two_options(world: World, case: Path, draw: random.Random) -> Bad:
    """Two options that may contradict each other, in a dry run or a run."""
    one, other = draw.sample(options.MODES, 2)
    dry = ["--dry-run"] if draw.random() < 0.7 else []
    layers = LAYERS if draw.random() < 0.7 else ()
    search = () if layers else SEARCHED
    arguments = pruning(world, case / "out", *layers, *search, *one, *other, *dry)
    return Bad(arguments, " ".join([*layers, *one, *other, *dry]))
