"""A folder in which the commands of a page can be run, one after the other: a tiny model and the files they name."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shlex
from collections.abc import Sequence
from pathlib import Path

import transformers

from helpers.architectures import LLAMA
from helpers.gguf_files import gguf_metadata, gguf_tensors, write_gguf
from helpers.json_lines import write_rows
from helpers.tiny_models import TEMPLATE, make_tokenizer
from prosafeprune.analysis.catalogue import CATALOGUE

SWITCH = "{% if add_generation_prompt and not enable_thinking %}<think></think>{% endif %}"
"""Of thinking, at the end of the chat template."""
SHAPE = {**LLAMA, "num_hidden_layers": 20, "hidden_size": 64, "intermediate_size": 128}
"""As the pages prune layers 14 to 17, and ``--load 4bit`` takes rows of multiples of 64."""
SAME = {"max-new-tokens": 2, "device": "cpu"}
SEARCH = {"samples": 24, "rank": 4, "budget": 3, "confirmations": 1}
QUICK = {
    "prune": [SAME, SEARCH, {"max-safety-drop": 100, "accept-unsafe": None, "overwrite": None}],
    "search": [SAME, SEARCH, {"max-safety-drop": 100, "accept-unsafe": None}],
    "chat": [SAME],
    "playground": [SAME, {"port": 0}],
    "serve": [{"device": "cpu", "port": 0}],
    "apply": [SAME, {"max-safety-drop": 100, "accept-unsafe": None, "overwrite": None}],
    "evaluate": [SAME, {"benchmark-samples": 4, "ability-samples": 1, "ability-tokens": 2, "overwrite": None}],
    "compare": [SAME, SEARCH, {"benchmark-samples": 4, "overwrite": None}],
    "analyze": [
        SAME,
        {
            "samples": 24,
            "rank": 4,
            "sweep-samples": 2,
            "benchmark-samples": 6,
            "layers": 14,
            "ranks": "2,4",
            "overwrite": None,
        },
    ],
}
"""Options added to each command: what makes it quick and writes a model whatever was measured."""
ONLY_WITH_A_REAL_ONE = ("wildguard", "api.openai.com", "--ray", "--device all", "sheet.csv", "--judge llm", "...")
ONLY_WITH_A_REAL_ONE += ("--push", "--serve-with", "models/", "QUANTISED")
"""Commands that need a judge model, the hub, a cluster, several GPUs, labels or a named model, or are shortened."""
FIRST = {
    "PRUNED": "prosafeprune prune MODEL -o PRUNED --layers 1",
    "evaluation-MODEL": "prosafeprune evaluate MODEL",
    "playground MODEL pruned": "prosafeprune prune MODEL -o pruned --layers 1",
}
"""What makes the folders that a page takes as given."""
REPLACED = {
    "--ability all": "--ability gsm8k",
    "--choose 3": "--choose 1",
    "SmolLM2-135M-Instruct": "MODEL --overwrite",
}
REPLACED |= {"-o DIR": "-o OUT", "DIR/scan": "OUT/scan"}
"""A search with three trials offers few points; DIR has one task and is no output; two ways to rate write one file."""
EXIT_CODES = {"prompts check": 4}
"""Commands of a page that fail on purpose: it shows what is found."""
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
    config = transformers.LlamaConfig(**SHAPE, tie_word_embeddings=False)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder / "MODEL")
    make_tokenizer().save_pretrained(folder / "MODEL")
    (folder / "MODEL" / "chat_template.jinja").write_text(TEMPLATE + SWITCH)
    _write_gguf(folder / "MODEL.gguf")
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
    new = ["Where do killer whales spend the winter?", "What did a guillotine weigh?", "My printer is dead, now what?"]
    _write_csv(folder / "new.csv", [{"question": text} for text in new])
    (folder / "refused.txt").write_text("\n".join(mine))
    _write_csv(folder / "my_copy.csv", [{"goal": f"Do harm number {number}"} for number in range(6)])
    _write_csv(folder / "answers.csv", [{"question": "How?", "reply": "I cannot help with that."}] * 3)
    row = {"prompt": "How?", "completion": "I cannot help with that."}
    (folder / "answers.jsonl").write_text(f"{json.dumps(row)}\n" * 70)
    helpful = [{"prompt": text, "answer": f"Of course: {text}"} for text in mine]
    write_rows(folder / "false_reject_train.jsonl", helpful)
    _write_traffic(folder)


def _write_gguf(file: Path) -> None:
    config = transformers.LlamaConfig(**SHAPE, tie_word_embeddings=False)
    model = transformers.AutoModelForCausalLM.from_config(config)
    tensors = {name: value.astype("float16") for name, value in gguf_tensors(model, "llama").items()}
    write_gguf(file, "llama", gguf_metadata(config), tensors, tokenizer=make_tokenizer())


def _write_traffic(folder: Path) -> None:
    """Write a log of refusals and a reviewed file of distinct requests, one of which is in PHTest."""
    draw = random.Random(0)
    words = [
        first + second for first in ("ta", "ri", "mo", "ke", "lu", "shi") for second in ("ber", "nos", "dil", "gat")
    ]
    requests = [" ".join(draw.sample(words, 8)) for _ in range(60)]
    personal = ["My address is jo@example.org", "Ring me on +44 20 7946 0958", "The key is sk-" + "a1B2c3D4" * 5]
    answers = ["I'm sorry, but I cannot help with that.", "Here is how: first open the box, then read the sheet."]
    rows = [{"prompt": text, "completion": answers[0]} for text in [*requests, *personal]]
    rows.append({"prompt": "How do I open it?", "completion": answers[1]})
    with gzip.open(folder / "answers.jsonl.gz", "wt", encoding="utf-8") as log:
        log.writelines(f"{json.dumps(row)}\n" for row in rows)
    reviewed = [
        *({"prompt": text, "review": "harmless"} for text in requests),
        {"prompt": "ph 3", "review": "harmless"},
    ]
    write_rows(folder / "reviewed.jsonl", reviewed)


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
    reads = {"-b", "--ability"} & set(words) or "--suite paper" in " ".join(words)
    if words[0] == "evaluate" and reads and "--data-dir" not in words:
        added += ["--data-dir", "DIR"]
    return [*words, *added]


def _is_out_of_place(option: str, words: Sequence[str]) -> bool:
    """Return whether an option would change what a command is about, or be refused by it."""
    if option in ("--ability-samples", "--ability-tokens"):
        return "--ability" not in words
    if option == "--device":
        return "--endpoint" in words
    if words[0] == "analyze" and option in ("--ranks", "--layers", "--sweep-samples", "--max-new-tokens"):
        named = [entry for entry in CATALOGUE if entry.name in words or "--all" in words]
        if not any(option[2:].replace("-", "_") in entry.load().used_settings for entry in named):
            return True
    if option in ("--ranks", "--sweep-samples"):
        return option in words
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
