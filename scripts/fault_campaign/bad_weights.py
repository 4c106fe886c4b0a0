"""Bad inputs in weights: headers of safetensors files, shard indexes, and adapters that others made."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fault_campaign.cases import Bad
from fault_campaign.mutations import changed, odd_value
from fault_campaign.world import LAYERS, World, evaluating, pruning

Header = dict[str, Any]
INDEX = "model.safetensors.index.json"


def header(world: World, case: Path, draw: random.Random) -> Bad:
    """Make the header of a shard say what its data are not."""
    model = Path(shutil.copytree(world.model, case / "model"))
    shard = draw.choice(sorted(model.glob("*.safetensors")))
    data = shard.read_bytes()
    length = int.from_bytes(data[:8], "little")
    found = json.loads(data[8 : 8 + length])
    name = draw.choice([key for key in found if key != "__metadata__"])
    entry, how = found[name], draw.choice(sorted(HEADERS))
    text = HEADERS[how](found, name, entry) or json.dumps(found)
    raw = text.encode() + b" " * (-len(text) % 8)
    tail = b"\0" * 4096 if how == "trailing data" else b""
    shard.write_bytes(len(raw).to_bytes(8, "little") + raw + data[8 + length :] + tail)
    return Bad(_one_command(world, case, model, draw), f"{shard.name}: {how}", may_succeed=False)


def _moved(header: Header, name: str, entry: Header) -> None:
    entry["data_offsets"] = [offset + 4 for offset in entry["data_offsets"]]


def _twice(header: Header, name: str, entry: Header) -> str:
    return f"{json.dumps(header)[:-1]}, {json.dumps(name)}: {json.dumps(entry)}}}"


HEADERS: dict[str, Callable[[Header, str, Header], str | None]] = {
    "moved data": _moved,
    "a name twice": _twice,
    "trailing data": lambda header, name, entry: None,
    "integers": lambda header, name, entry: entry.update(dtype="I32"),
    "an unknown dtype": lambda header, name, entry: entry.update(dtype="F128"),
    "no dtype": lambda header, name, entry: entry.pop("dtype") and None,
    "no numbers": lambda header, name, entry: entry.update(shape=[0], data_offsets=[0, 0]),
    "a negative shape": lambda header, name, entry: entry.update(shape=[-size for size in entry["shape"]]),
    "a huge shape": lambda header, name, entry: entry.update(shape=[2**62, 2**62]),
    "an odd shape": lambda header, name, entry: entry.update(shape="x"),
    "another shape": lambda header, name, entry: entry.update(shape=[*entry["shape"], 1]),
    "odd offsets": lambda header, name, entry: entry.update(data_offsets=[False, 1e3]),
    "a list": lambda header, name, entry: "[1, 2]",
    "odd metadata": lambda header, name, entry: header.update(__metadata__={"format": 5}),
}
"""By what is wrong: changes a header, or returns its text. None of them may be read."""


def index(world: World, case: Path, draw: random.Random) -> Bad:
    """Make the shard index name what is not there, or remove it."""
    model = Path(shutil.copytree(world.model, case / "model"))
    found = json.loads((model / INDEX).read_text())
    names = found["weight_map"]
    how = draw.choice(["outside", "absolute", "missing", "pickle", "no metadata", "no map", "none", "tensor twice"])
    one = draw.choice(sorted(names))
    if how == "tensor twice":
        shards = sorted(set(names.values()))
        other = draw.choice([shard for shard in shards if shard != names[one]])
        save_file({one: torch.zeros(1)}, model / other)
    elif how == "none":
        (model / INDEX).unlink()
        return Bad(_one_command(world, case, model, draw), "no shard index", may_succeed=False)
    elif how == "no metadata":
        del found["metadata"]
    elif how == "no map":
        found["weight_map"] = odd_value(draw)
    else:
        places = {"outside": "../x.safetensors", "absolute": str(world.model / names[one]), "pickle": "x.bin"}
        names[one] = places.get(how, "model-9.safetensors")
    if how != "tensor twice":
        (model / INDEX).write_text(json.dumps(found), errors="surrogatepass")
    return Bad(_one_command(world, case, model, draw), f"{INDEX}: {how}", may_succeed=False)


def foreign_adapter(world: World, case: Path, draw: random.Random) -> Bad:
    """Spoil a LoRA adapter that another program made: its config, or the tensors that it should have."""
    adapter = case / "foreign"
    adapter.mkdir()
    config = json.loads((world.model / "config.json").read_text())
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    keys = [f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{{}}.weight" for layer in range(layers)]
    tensors = {
        key.format(part): torch.ones(4, width) if part == "A" else torch.ones(width, 4) for key in keys for part in "AB"
    }
    settings: Any = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
    settings |= {"task_type": "CAUSAL_LM", "base_model_name_or_path": str(world.model), "modules_to_save": None}
    victim = draw.choice(sorted(tensors))
    how = draw.choice(["config", "config", "entry", "missing", "unknown", "prefix", "shape", "NaN", "integers"])
    what = how
    if how == "config":
        settings, what = changed(settings, draw)
    elif how == "entry":
        key = draw.choice(["use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "layers_to_transform", "bias"])
        settings[key] = odd_value(draw)
        what = f"{key} is {ascii(settings[key])[:40]}"
    elif how == "missing":
        del tensors[victim]
    elif how == "unknown":
        tensors[victim.replace("q_proj", "z_proj")] = torch.ones(4, width)
    elif how == "prefix":
        tensors = {name.removeprefix("base_model.model."): tensor for name, tensor in tensors.items()}
    else:
        odd = {"shape": torch.ones(3, 5), "NaN": tensors[victim] * float("nan"), "integers": tensors[victim].long()}
        tensors[victim] = odd[how]
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    save_file(tensors, adapter / "adapter_model.safetensors")
    may_succeed = how in ("config", "entry")
    return Bad(evaluating(world, case / "out", model=adapter), f"a foreign adapter, {what}", may_succeed)


def _one_command(world: World, case: Path, model: Path, draw: random.Random) -> list[object]:
    low = ("--memory", "low", "--unmeasured") if draw.random() < 0.3 else ()
    pruned = pruning(world, case / "out", *LAYERS, *low, model=model)
    return draw.choice([pruned, evaluating(world, case / "out", model=model)])
