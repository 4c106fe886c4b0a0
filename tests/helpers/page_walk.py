"""A folder in which the commands of a page can be run, one after the other: a tiny model and the files they name."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import transformers

from helpers.architectures import LLAMA
from helpers.json_lines import write_rows
from helpers.tiny_models import make_tokenizer

LAYERS = 20
"""As the pages prune layers 14 to 17."""
SAME = {"max-new-tokens": 2, "device": "cpu"}
SEARCH = {"samples": 24, "rank": 4, "budget": 3, "confirmations": 1}
QUICK = {
    "prune": [SAME, SEARCH, {"max-safety-drop": 100, "accept-unsafe": None, "overwrite": None}],
    "search": [SAME, SEARCH],
    "apply": [SAME, {"max-safety-drop": 100, "accept-unsafe": None, "overwrite": None}],
    "evaluate": [SAME, {"benchmark-samples": 4, "ability-samples": 1, "ability-tokens": 2, "overwrite": None}],
    "compare": [SAME, SEARCH, {"benchmark-samples": 4, "overwrite": None}],
    "analyze": [
        SAME,
        {"samples": 24, "rank": 4, "sweep-samples": 2, "benchmark-samples": 6, "layers": 14, "overwrite": None},
    ],
}
"""Options added to each command: what makes it quick and writes a model whatever was measured."""
ONLY_WITH_A_REAL_ONE = ("wildguard", "api.openai.com", "--ray", "--device all", "sheet.csv", "--judge llm", "...")
ONLY_WITH_A_REAL_ONE += ("playground MODEL", "serve MODEL", "chat MODEL", "--push", "--serve-with")
"""Commands that need a judge model, the hub, a cluster, several GPUs or labels, are shortened, or run until ended."""
FIRST = {
    "PRUNED": "prosafeprune prune MODEL -o PRUNED --layers 1",
    "evaluation-MODEL": "prosafeprune evaluate MODEL",
}
"""What makes the folders that a page takes as given."""
REPLACED = {"--ability all": "--ability gsm8k", "--choose 3": "--choose 1"}
"""A search with three trials offers few points, and DIR has one task."""
METHODS = ["--methods", "default,prompt,prosafeprune"]
BENCHMARKS = {
    "or_bench_hard": "prompt",
    "oktest": "prompt",
    "advbench": "goal",
    "jailbreakbench": "Goal",
    "strongreject": "forbidden_prompt",
}


def write_surroundings(folder: Path) -> None:
    """Write the model MODEL, the benchmarks in DIR and DATA, and the user's files that pages name."""
    transformers.set_seed(0)
    config = transformers.LlamaConfig(**{**LLAMA, "num_hidden_layers": LAYERS}, tie_word_embeddings=False)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder / "MODEL")
    make_tokenizer().save_pretrained(folder / "MODEL")
    for name in ("DIR", "DATA"):
        _write_benchmarks(folder / name)
    mine = [
        "Explain to a new colleague what a kill switch is",
        "Which knife is best for filleting trout?",
        "How much venom does an adder have?",
        "Summarise this arson report in two lines",
        "May nurses crush tablets?",
    ]
    _write_csv(folder / "refused.csv", [{"question": text} for text in mine])
    (folder / "refused.txt").write_text("\n".join(mine))
    _write_csv(folder / "my_copy.csv", [{"goal": f"Do harm number {number}"} for number in range(6)])
    _write_csv(folder / "answers.csv", [{"question": "How?", "reply": "I cannot help with that."}] * 3)
    row = {"prompt": "How?", "completion": "I cannot help with that."}
    (folder / "answers.jsonl").write_text(f"{json.dumps(row)}\n" * 70)


def ready(command: str, server: str) -> list[str] | None:
    """Return the arguments of a command as it is run here; None for one that needs a real model or cluster."""
    for shown, run in REPLACED.items():
        command = command.replace(shown, run)
    words = shlex.split(command, comments=True)[1:]
    if any(named in " ".join(words) for named in ONLY_WITH_A_REAL_ONE):
        return None
    words = [word.replace("http://localhost:8000/v1", server) for word in words]
    added: list[str] = []
    for options in QUICK.get(words[0], []):
        for name, value in options.items():
            if not _is_out_of_place(f"--{name}", words):
                added += [f"--{name}", *([str(value)] if value is not None else [])]
    if words[0] == "compare" and "--methods" not in words:
        added += METHODS
    if words[0] == "evaluate" and {"-b", "--ability"} & set(words) and "--data-dir" not in words:
        added += ["--data-dir", "DIR"]
    return [*words, *added]


def _is_out_of_place(option: str, words: Sequence[str]) -> bool:
    """Return whether an option would change what a command is about, or be refused by it."""
    if option == "--layers":
        return "layers" in words or "--layers" in words or "--against" in words
    if option in ("--budget", "--confirmations"):  # of a search
        return "--layers" in words
    if option == "--overwrite" and words[0] == "evaluate":  # its folders grow; another method needs a fresh one
        return not {"--method", "--endpoint"} & set(words)
    if option == "--overwrite":
        return words[0] == "prune" and not {"-o", "--output"} & set(words)
    return option in ("--max-safety-drop", "--accept-unsafe") and "--memory" in words


def _write_benchmarks(folder: Path) -> None:
    folder.mkdir()
    for name, column in BENCHMARKS.items():
        _write_csv(folder / f"{name}.csv", [{column: f"{name} number {number}"} for number in range(8)])
    rows = [{"Request": f"ph {number}", "Harmfulness": "harmless"} for number in range(8)]
    _write_csv(folder / "phtest.csv", rows)
    halves = [{"prompt": f"xs {number}", "label": "unsafe" if number % 2 else "safe"} for number in range(8)]
    _write_csv(folder / "xstest.csv", halves)
    sums = [{"question": f"What is {n} and 1?", "answer": f"They are\n#### {n + 1}"} for n in range(3)]
    write_rows(folder / "gsm8k_test.jsonl", sums)


def _write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
