"""Hostile text through every output: names, prompts and answers that try to be terminal commands, markup or code."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import yaml

from fault_campaign.children import Ended, run
from fault_campaign.figures import Figures
from fault_campaign.world import CLASSES, LAYERS, World, calibration, comparing, evaluating, pruning

NAME = "a[/b] [red]\x1b]0;t\x07\u202e<img src=x onerror=alert(1)>`|*_&'\"$(id)\u2066"
TEXTS = (
    "\x1b]52;c;eA==\x07\x1b[2J\x1b[31m red \x9b31m \r over \x08\x08",
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}{% if %}",
    "\u202e\u2066 reversed \u2028 line \u2029 \ufeff \U000e0041 \ufffe",
    "[/bold] [link=http://example.org]x[/link] | a | b |\n\n---\n# Title\n```\n<!-- ",
    "'; DROP TABLE; -- %s %n {0} ${x} \\x00 \\",
)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f\ud800-\udfff]")
OUR_MARKUP = ("\u2068", "\u2069")
"""Isolates that we put around right-to-left names ourselves, in pages."""


def campaign(world: World, place: Path, figures: Figures) -> None:
    """Run every command with hostile names, prompts and answers, and look at all that it prints and writes."""
    case = place / "hostile"
    model = Path(shutil.copytree(world.model, case / NAME.replace("/", "\u2215")))
    (model / "README.md").write_text(f"---\nlicense: mit\ntags: 5\nx: [\n---\n```\n<!-- {TEXTS[1]}\n", encoding="utf-8")
    hostile = World(case)
    (case / "model").symlink_to(model, target_is_directory=True)
    for name in (*CLASSES, "tested", "further"):
        # Words of their own, or the sets would not count as disjoint.
        own = [" ".join(f"{name}{i}word{word}" for word in range(30)) for i in range(len(TEXTS))]
        texts = [f"{words}: {text}" for words, text in zip(own, TEXTS, strict=True)]
        rows = [{"prompt": text, "category": TEXTS[i]} for i, text in enumerate(texts)]
        for kind in ("txt", "jsonl"):
            lines = [re.sub("[\r\n]", " ", text) for text in texts] if kind == "txt" else map(json.dumps, rows)
            hostile.prompts(name, kind).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    answered = [{"prompt": text, "completion": f"{text} no.", "label": "partial_refusal"} for text in TEXTS]
    hostile.answers.write_text("".join(json.dumps(row) + "\n" for row in answered))
    out = case / "outputs"
    out.mkdir()
    runs = {
        "prune": pruning(hostile, out / f"p{NAME.replace('/', '|')}", *LAYERS, "--system", TEXTS[0], model=model),
        "prune --format adapter": pruning(hostile, out / "adapter", *LAYERS, "--format", "adapter", model=model),
        "prune --json": pruning(hostile, None, *LAYERS, "--json", model=model),
        "search": ["search", model, "-o", out / "search", *calibration(hostile), "--rank", 2, "--budget", 1],
        "evaluate": evaluating(hostile, out / "evaluation", model=model),
        "evaluate --json": evaluating(hostile, out / "evaluation", "--json", model=model),
        "compare": comparing(hostile, out / "comparison"),
        "judge": ["judge", hostile.answers, "-o", out / "judged.jsonl"],
        "judge --sample": ["judge", hostile.answers, "-o", out / "sheet", "--sample", 3],
        "a bad option": ["evaluate", model, "--device", NAME],
        "a missing model": ["evaluate", case / NAME.replace("/", "|")],
        "a missing file": ["judge", case / f"{NAME.replace('/', '|')}.jsonl"],
    }
    for name, arguments in runs.items():
        ended = run(
            arguments,
            partial(_hostile_answers, case, "\ud83d" if name.startswith("evaluate") else ""),
            cache=case / "cache",
        )
        figures.cases["outputs with hostile text"] += 1
        if name.startswith("a") == (ended.code == 0) and ended.code != 3:
            figures.fault("other results", f"hostile text, {name}: exit code {ended.code}", ended.err)
        figures.check_end(ended, f"hostile text, {name}", may_succeed=True)
        _check_terminal(ended, name, figures)
    for file in sorted(path for path in out.rglob("*") if path.is_file()):
        figures.cases["files with hostile text"] += 1
        problem = problem_of(file)
        if problem:
            figures.fault("broken outputs", f"hostile text in {file.name}", problem)


def _hostile_answers(case: Path, cut: str) -> None:
    """Make the model say hostile things, in a separate folder; ``cut`` is half a character, as from a server."""
    import os
    from dataclasses import replace
    from itertools import count

    from prosafeprune.evaluation import measure

    os.chdir(case)
    store, number = measure.store_answer, count()

    def store_hostile(answers: object, repeat: int, prompt: str, answer: object) -> None:
        text = TEXTS[next(number) % len(TEXTS)] + cut
        store(answers, repeat, prompt, replace(answer, text=text))  # type: ignore[arg-type, type-var]

    measure.store_answer = store_hostile  # type: ignore[assignment]


def _check_terminal(ended: Ended, name: str, figures: Figures) -> None:
    for stream, text in (("stdout", ended.out), ("stderr", ended.err)):
        found = CONTROL.search("".join(letter for letter in text if letter not in OUR_MARKUP))
        if found:
            around = ascii(text[max(0, found.start() - 30) : found.end() + 30])
            figures.fault("broken outputs", f"{name}: {found[0]!a} on {stream}", around)
    if ended.code == 0 and "--json" in name:
        json.loads(ended.out)


def problem_of(file: Path) -> str:
    """Return what is wrong with a written file; empty if nothing is."""
    data = file.read_bytes()
    if file.suffix not in (".html", ".json", ".jsonl", ".md", ".svg", ".csv"):
        return ""
    text = data.decode("utf-8")  # raises when it is not
    if file.suffix == ".json":
        json.loads(text, parse_constant=_no_constant)
    elif file.suffix == ".jsonl":
        for line in filter(None, text.split("\n")):
            json.loads(line, parse_constant=_no_constant)
    elif file.name == "README.md":
        return _problem_of_card(text)
    elif file.suffix in (".html", ".svg"):
        reader = _Markup(1 if "script-src 'sha256-" in text else 0)  # the sheet to label has one, by its hash
        reader.feed(text)
        return "; ".join(reader.problems)
    return ""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _problem_of_card(text: str) -> str:
    _, front_matter, body = text.split("---\n", 2)
    if not isinstance(yaml.safe_load(front_matter), dict):
        return "the front matter is no mapping"
    ours = body.find("# ")
    if ours < 0 or not body.lstrip().startswith("#") or "```" in body[:ours] or "<!--" in body[:ours]:
        return "our section does not come first"
    return ""


class _Markup(HTMLParser):
    """Collects scripts, handlers and addresses that our pages do not have."""

    def __init__(self, scripts: int) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.scripts = scripts

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        self.scripts -= tag == "script"
        if tag in ("iframe", "object", "embed", "base", "form") or self.scripts < 0:
            self.problems.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or (name in ("src", "href") and not (value or "").startswith(("#", "data:"))):
                self.problems.append(f"<{tag} {name}={ascii(value)[:60]}>")
