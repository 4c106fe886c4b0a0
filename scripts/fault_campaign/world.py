"""What the campaign works on: tiny random models, prompts, an adapter and records, and the commands that use them."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from helpers.gguf_files import gguf_metadata, gguf_tensors, rounded, write_gguf
from helpers.tiny_models import make_model, make_tokenizer, save_checkpoint

from fault_campaign.children import run_here

PROMPTS = 6
CLASSES = ("harmful", "benign", "pseudo_harmful")
MODULES_WITH_JUDGE = ("jobs.prune", "jobs.calibrated_plan", "jobs.apply", "jobs.evaluate", "jobs.compare")


@dataclass(frozen=True)
class World:
    """A folder with everything a command reads; its files are never changed."""

    folder: Path

    @property
    def model(self) -> Path:
        """A checkpoint in two shards."""
        return self.folder / "model"

    @property
    def adapter(self) -> Path:
        """An adapter that prune made for the model."""
        return self.folder / "adapter"

    @property
    def gguf(self) -> Path:
        """The model as a GGUF file."""
        return self.folder / "model.gguf"

    @property
    def answers(self) -> Path:
        """Answers made elsewhere."""
        return self.folder / "answers.jsonl"

    @property
    def recipe(self) -> Path:
        """A recipe file."""
        return self.folder / "recipe.yaml"

    @property
    def evaluation(self) -> Path:
        """A finished evaluation."""
        return self.folder / "evaluation"

    @property
    def cache(self) -> Path:
        """What commands kept in the cache: answers and a search."""
        return self.folder / "cache"

    @property
    def search(self) -> Path:
        """A finished search."""
        return self.folder / "search"

    def prompts(self, name: str, kind: str = "txt") -> Path:
        """A file of prompts of one class."""
        return self.folder / f"{name}.{kind}"


@dataclass(frozen=True)
class Command:
    """A command that writes, and what of its output must be the same whenever it is repeated."""

    name: str
    arguments: Callable[[World, Path], Sequence[object]]
    """Given the world and the output."""
    is_folder_whole: bool
    """Whether the output is a model: complete or not there. Other folders grow, and are resumed."""
    compared: tuple[str, ...] = ("**/*",)
    before: Callable[[World, Path], Sequence[object]] | None = None
    """A command that makes an earlier output, which this one replaces."""


def calibration(world: World) -> list[object]:
    """Return options that name the world's calibration prompts."""
    return [word for name in CLASSES for word in (f"--{name.replace('_', '-')}", world.prompts(name))]


def pruning(world: World, out: Path | None, *more: object, model: Path | None = None) -> list[object]:
    """Return the arguments of a pruning of the world's model, or of another."""
    few = ["--rank", 2, "--max-new-tokens", 2, "--device", "cpu", "--max-safety-drop", 100, "--accept-unsafe"]
    where = [] if out is None else ["-o", out]
    return ["prune", model or world.model, *where, *calibration(world), *few, *more]


LAYERS = ("--layers", "0,2")
SEARCHED = ("--budget", 2, "--confirmations", 1, "--pooling", "tail")
FEW = ("--max-new-tokens", 2, "--device", "cpu")


def evaluating(world: World, out: Path, *more: object, model: Path | None = None) -> list[object]:
    """Return the arguments of an evaluation."""
    sets = ["--test-harmful", world.prompts("harmful"), "--test-pseudo-harmful", world.prompts("pseudo_harmful")]
    return ["evaluate", model or world.model, "-o", out, *sets, *FEW, *more]


def comparing(world: World, out: Path, *more: object) -> list[object]:
    """Return the arguments of a comparison."""
    sets = ["-b", f"xstest-safe={world.prompts('pseudo_harmful', 'jsonl')}"]
    sets += ["-b", f"advbench={world.prompts('tested', 'jsonl')}"]
    methods = ["--methods", "default,prompt,prosafeprune", *LAYERS, "--rank", 2]
    own = [*calibration(world)[:4], "--pseudo-harmful", world.prompts("further")]
    return ["compare", world.model, "-o", out, *sets, *methods, *own, *FEW, *more]


def applying(world: World, out: Path, *more: object, adapter: Path | None = None) -> list[object]:
    """Return the arguments of an application of the world's adapter."""
    few = [*FEW, "--max-safety-drop", 100, "--accept-unsafe"]
    return ["apply", adapter or world.adapter, world.model, "-o", out, *few, *more]


def analyzing(world: World, out: Path, *more: object) -> list[object]:
    """Return the arguments of an analysis."""
    return ["analyze", "layers", world.model, "-o", out, *calibration(world), "--rank", 2, "--device", "cpu", *more]


def searching(world: World, out: Path | None, *more: object) -> list[object]:
    """Return the arguments of a search; without an output, it is kept in the cache."""
    few = [*FEW, "--rank", 2, "--max-safety-drop", 100, "--accept-unsafe"]
    where = [] if out is None else ["-o", out]
    return ["search", world.model, *where, *calibration(world), *few, *SEARCHED, *more]


COMMANDS = (
    Command("prune", lambda w, o: pruning(w, o, *LAYERS), True),
    Command(
        "prune --overwrite",
        lambda w, o: pruning(w, o, *LAYERS, "--overwrite"),
        True,
        before=lambda w, o: pruning(w, o, "--layers", 1),
    ),
    Command("prune --format adapter", lambda w, o: pruning(w, o, *LAYERS, "--format", "adapter"), True),
    Command("prune --memory low", lambda w, o: pruning(w, o, *LAYERS, "--memory", "low", "--unmeasured"), True),
    Command("prune a GGUF", lambda w, o: pruning(w, o, *LAYERS, "--dtype", "float32", model=w.gguf), True),
    Command("prune --choose", lambda w, o: pruning(w, o, "--search", w.search, "--choose", 1), True),
    Command("apply", applying, True),
    Command("apply --strength", lambda w, o: applying(w, o, "--strength", 0.5), True),
    Command("search", searching, False, ("search.json",)),
    Command("evaluate", evaluating, False, ("evaluation.json", "answers.jsonl", "verdicts-*")),
    Command("compare", comparing, False, ("comparison.json", "*/answers.jsonl")),
    Command(
        "compare --overwrite",
        lambda w, o: comparing(w, o, "--overwrite"),
        False,
        ("comparison.json", "*/answers.jsonl"),
        before=comparing,
    ),
    Command("analyze", analyzing, False, ("*/findings.json", "*/*.csv")),
    Command("judge", lambda w, o: ["judge", w.answers, "-o", o.with_suffix(".jsonl"), "--overwrite"], True),
    Command("judge --sample", lambda w, o: ["judge", w.answers, "-o", o, "--sample", 4, "--overwrite"], True),
)


def build(folder: Path) -> World:
    """Make a world in an empty folder."""
    world = World(folder)
    save_checkpoint(world.model, "llama", max_shard_size="60KB")
    model = rounded(make_model("llama"))
    metadata, tensors = gguf_metadata(model.config), gguf_tensors(model, "llama")
    write_gguf(world.gguf, "llama", metadata, tensors, tokenizer=make_tokenizer())
    for name, verb in (
        *((kind, f"{kind} wish") for kind in CLASSES),
        ("tested", "locked box"),
        ("further", "odd star"),
    ):
        texts = [f"Tell me of {verb} {number * number}" for number in range(PROMPTS)]
        world.prompts(name).write_text("".join(f"{text}\n" for text in texts))
        world.prompts(name, "csv").write_text("prompt,category\n" + "".join(f"{text},a\n" for text in texts))
        world.prompts(name, "jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    answers = ["I cannot help with that.", "Sure: open the box.", "", "No.", "I am sorry, but no.", "Yes, here it is."]
    rows = [{"prompt": f"Open box {i}", "completion": text, "label": "full_refusal"} for i, text in enumerate(answers)]
    world.answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    world.recipe.write_text(f"layers: 0,2\nrank: 2\nmax_new_tokens: 2\nmodel: {world.model}\n")
    for made in (
        pruning(world, world.adapter, *LAYERS, "--format", "adapter"),
        evaluating(world, world.evaluation),
        searching(world, world.search),
        comparing(world, folder / "comparison"),
        analyzing(world, folder / "analysis"),
        pruning(world, folder / "unused", *LAYERS, model=world.gguf),
        searching(world, None),
    ):
        code = run_here(made, folder / "logs")
        if code != 0:
            raise RuntimeError(f"{made}: exit code {code}, see {folder / 'logs'}")
    shutil.copytree(os.environ["PROSAFEPRUNE_CACHE"], world.cache)
    gc.collect()
    gc.freeze()  # a child that collects garbage would copy the parent's memory
    return world


def prepare_libraries() -> None:
    """Import what commands need, and make them quick: few bundled prompts, a rigged judge, templates rendered here.

    The judge calls an answer of even length a refusal, so that random models refuse something.
    """
    import prosafeprune.cli.application
    import prosafeprune.jobs.compare
    import prosafeprune.jobs.prune_unmeasured
    import prosafeprune.terminal
    from prosafeprune.judges import judging
    from prosafeprune.prompts import bundled
    from prosafeprune.setup.machine import fastest_seconds

    read = bundled._read.__wrapped__

    def shortest(prompt_class: Any, split: Any) -> Any:
        return tuple(sorted(read(prompt_class, split), key=lambda prompt: len(prompt.text))[:PROMPTS])

    bundled._read = cache(shortest)  # type: ignore[assignment]
    judging.broken_reason = lambda prompt, answer: None
    fastest_seconds.__defaults__ = (0.005,)  # the machine's speed, which every estimate measures
    for name in MODULES_WITH_JUDGE:
        module = __import__(f"prosafeprune.{name}", fromlist=["make_judge"])
        real = module.make_judge
        module.make_judge = lambda options, reporter, real=real: (
            _ByLength() if options.judge == "builtin" else real(options, reporter)
        )
    prosafeprune.terminal.calm_libraries()
    _render_here()


def draw_blank_figures() -> None:
    """Make figures blank from now on: drawing takes half the time of a command, and writes no file that others do not.

    Hostile text is looked for in real figures, before.
    """
    from matplotlib.figure import Figure

    from prosafeprune import plotting

    plotting._saved = lambda *given, **more: b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    Figure.draw_without_rendering = lambda self: None  # type: ignore[method-assign]


class _ByLength:
    name = "by-length"

    def judge(self, exchanges: Sequence[Any]) -> list[Any]:
        from prosafeprune.judges import AnswerClass, Verdict

        kinds = (AnswerClass.FULL_REFUSAL, AnswerClass.FULL_COMPLIANCE)
        return [Verdict(kinds[len(exchange.answer) % 2], "by length") for exchange in exchanges]


def _render_here() -> None:
    """Render the world's own template without starting a process for it; others still get theirs."""
    from helpers.tiny_models import TEMPLATE
    from transformers.utils.chat_template_utils import render_jinja_template

    from prosafeprune.model import template_process

    in_process = template_process.shared.render

    def render(template: str, messages: Any, variables: Any) -> str:
        if template != TEMPLATE:
            return in_process(template, messages, variables)
        kind, text = template_process._reply(render_jinja_template, template, list(messages), dict(variables))
        if kind != "text":
            raise template_process.TemplateError(text)
        return text

    template_process.shared.render = render  # type: ignore[method-assign]
