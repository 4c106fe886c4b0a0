"""Memory, reading and time of pruning one layer at a time, on a random checkpoint of Llama-2's shape made on the spot.

    python benchmarks/memory.py FOLDER [--shape 7b] [--layers 32] [--pruned 16-17] [--prompts 8]

Makes bfloat16 shards in a fresh folder inside FOLDER (13.5 GB with 32 layers; twice that must be free), and removes it
at the end. ``--shape 1b`` has layers as wide as those of Llama 3.2 1B. Then, each in a process of its own with the base
model's pages dropped from the system's cache first:

- a plain sequential copy of the shards, in pieces of 16 MB, as the measure of what the disk can do;
- ``prune --memory low``;
- the copy again.

Peak memory is ``VmHWM`` of the process (``ru_maxrss`` would count what its parent held before it was made); no file is
mapped, so the weights cannot hide in mapped pages.
Bytes read are ``rchar`` of ``/proc/self/io``, all that the process asked the kernel for, whether cached or not.
Before that, a smaller checkpoint of that architecture is pruned both ways and the shards are compared.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from prosafeprune.checkpoint.writer import EditedTensors, locate_tensors
from prosafeprune.jobs.prune_unmeasured import run_prune_unmeasured
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import load_model
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.requests.recipe import Recipe, make_recipe
from prosafeprune.setup.calibrate import calibrate
from prosafeprune.setup.prepare import given_plan, prepare_run
from prosafeprune.terminal import TerminalReporter

LLAMA_2_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "vocab_size": 32000}
SHAPES = {
    "7b": LLAMA_2_7B,
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "vocab_size": 32000},
}
SMALLER = {"hidden_size": 512, "intermediate_size": 1376, "num_attention_heads": 8, "vocab_size": 32000}
Shape = dict[str, Any]
LAYERS_TO_A_SHARD = 4
PIECE = 2**24
TEMPLATE = "{% for m in messages %}<s> [INST] {{ m['content'] }} [/INST]{% endfor %}"


def make_checkpoint(folder: Path, shape: Shape, layers: int) -> None:
    """Write a random Llama of that shape with that many layers, shard by shard."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    names: dict[str, str] = {}
    count = -(-layers // LAYERS_TO_A_SHARD) + 1
    hidden, vocabulary = shape["hidden_size"], shape["vocab_size"]
    ends: dict[str, tuple[int, ...]] = {"model.norm.weight": (hidden,)}
    ends |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (vocabulary, hidden))
    for number in range(count):
        first = number * LAYERS_TO_A_SHARD
        here = range(first, min(first + LAYERS_TO_A_SHARD, layers))
        shapes = {name: size for layer in here for name, size in layer_shapes(shape, layer).items()} or ends
        tensors = {name: random_weight(size, random) for name, size in shapes.items()}
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        names |= dict.fromkeys(tensors, file)
    index = {"metadata": {}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = transformers.LlamaConfig(
        **shape, num_hidden_layers=layers, architectures=["LlamaForCausalLM"], dtype="bfloat16"
    )
    config.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def layer_shapes(shape: Shape, layer: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a decoder layer's tensors by name."""
    prefix, hidden, inner = f"model.layers.{layer}", shape["hidden_size"], shape["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"}
    shapes |= {f"{prefix}.mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
    shapes[f"{prefix}.mlp.down_proj.weight"] = (hidden, inner)
    norms = ("input_layernorm", "post_attention_layernorm")
    return shapes | {f"{prefix}.{name}.weight": (hidden,) for name in norms}


def random_weight(shape: tuple[int, ...], random: np.random.Generator) -> torch.Tensor:
    """Return ones for a norm; for a matrix, numbers of either sign and of 0.016 to 0.031, evenly: fast to draw."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    count = shape[0] * shape[1]
    bits = np.frombuffer(random.bytes(2 * count), dtype=np.uint16)
    # The sign and the seven bits behind the point are drawn; the exponent is that of 1/64.
    drawn = torch.from_numpy((bits & 0x807F) | ((127 - 6) << 7))
    return drawn.view(torch.bfloat16).view(shape)


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer of one token a word for the bundled calibration prompts."""
    words = {
        word
        for prompt_class in PromptClass
        for text in bundled_prompts(prompt_class, "calibration").texts
        for word in text.split()
    }
    vocabulary = {
        word: number for number, word in enumerate(["<unk>", "<s>", "</s>", "[INST]", "[/INST]", *sorted(words)])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=TEMPLATE
    )


def recipe(source: Path, layers: str, prompts: int) -> Recipe:
    """Return what both ways of pruning are asked for."""
    settings: dict[str, Any] = {"rank": prompts, "samples": prompts, "memory": "low", "unmeasured": True}
    return make_recipe(model=str(source), layers=layers, device="cpu", **settings)


def prune_whole(asked: Recipe, output: Path) -> None:
    """Write what the ordinary path writes, with the whole model in memory; without measuring it."""
    prepared = prepare_run(asked, None, False, SilentReporter())
    loaded = load_model(prepared.source.path, prepared.source.name, SilentReporter(), device="cpu")
    anatomy, plan = find_anatomy(loaded.model), given_plan(asked)
    assert plan is not None
    _, edits = calibrate(loaded, anatomy, plan, prepared.calibration, asked.batch_size, SilentReporter())
    located = locate_tensors(
        prepared.source.path, [submodule for submodule in anatomy.submodules if submodule.layer in plan.layers]
    )
    output.mkdir()
    EditedTensors(prepared.source.path, located, edits).write(output, lambda steps: None)


def is_equal_on_a_smaller_model(folder: Path, prompts: int) -> bool:
    """Prune a model both ways; return whether all shards are the same to the byte, and not those of the source."""
    source, whole, passing = folder / "small", folder / "small-whole", folder / "small-passing"
    make_checkpoint(source, SMALLER, 6)
    asked = recipe(source, "2,4", prompts)
    prune_whole(asked, whole)
    run_prune_unmeasured(asked, passing)
    shards = list(source.glob("*.safetensors"))
    equal = all((whole / shard.name).read_bytes() == (passing / shard.name).read_bytes() for shard in shards)
    changed = any((source / shard.name).read_bytes() != (passing / shard.name).read_bytes() for shard in shards)
    return equal and changed


def copy_plainly(source: Path, output: Path) -> None:
    """Read every shard from beginning to end and write it elsewhere."""
    output.mkdir()
    for shard in sorted(source.glob("*.safetensors")):
        with shard.open("rb", buffering=0) as reading, (output / shard.name).open("wb", buffering=0) as writing:
            while piece := reading.read(PIECE):
                writing.write(piece)


def prune_passing(source: Path, output: Path, layers: str, prompts: int) -> None:
    """Prune with one layer in memory at a time."""
    with TerminalReporter() as reporter:
        run_prune_unmeasured(recipe(source, layers, prompts), output, reporter=reporter)


def report_on(work: Callable[[], None]) -> None:
    """Do the work, then print its seconds, this process's peak memory and what it has read."""
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    peak = counter("status", "VmHWM") * 1024
    print(json.dumps({"seconds": round(seconds, 1), "peak_bytes": peak, "read_bytes": counter("io", "rchar")}))


def counter(file: str, name: str) -> int:
    """Return a number that the kernel keeps of this process."""
    lines = Path("/proc/self", file).read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def in_a_process(task: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run one task of this file in a fresh process, its source's pages out of the cache; return its report."""
    os.sync()
    for shard in (folder / "source").glob("*.safetensors"):
        with shard.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, __file__, str(folder), "--task", task, "--pruned", options.pruned]
    done = subprocess.run([*command, "--prompts", str(options.prompts)], stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(folder / "output")
    report: dict[str, Any] = json.loads(done.stdout)
    print(task, done.stdout.strip(), file=sys.stderr)
    return report


def compare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make the checkpoints in an empty folder and run the tasks; return what they took."""
    equal = is_equal_on_a_smaller_model(folder, options.prompts)
    source = folder / "source"
    make_checkpoint(source, SHAPES[options.shape], options.layers)
    size = sum(shard.stat().st_size for shard in source.glob("*.safetensors"))
    before, ours, after = (in_a_process(task, folder, options) for task in ("copy", "prune", "copy"))
    return {
        "checkpoint_gb": round(size / 1e9, 2),
        "equal_on_a_smaller_model": equal,
        "peak_memory_gb": round(ours["peak_bytes"] / 1e9, 2),
        "read_to_checkpoint": round(ours["read_bytes"] / size, 3),
        "seconds": {"copy": before["seconds"], "ours": ours["seconds"], "copy_again": after["seconds"]},
        "time_to_copy": round(ours["seconds"] / ((before["seconds"] + after["seconds"]) / 2), 2),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Run one task, or all of them in a fresh folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--pruned", default="16-17")
    parser.add_argument("--prompts", type=int, default=8, help="from each class; the rank is as many")
    parser.add_argument("--task", choices=("copy", "prune"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    source, output = options.folder / "source", options.folder / "output"
    if options.task == "copy":
        report_on(lambda: copy_plainly(source, output))
    elif options.task == "prune":
        report_on(lambda: prune_passing(source, output, options.pruned, options.prompts))
    else:
        options.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(json.dumps(compare(Path(folder), options)))


if __name__ == "__main__":
    main()
