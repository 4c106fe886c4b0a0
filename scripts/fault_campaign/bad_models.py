"""Bad inputs in models: configs, tokenizers, chat templates, weights, GGUF files."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from fault_campaign import mutations
from fault_campaign.cases import Bad, Tries
from fault_campaign.mutations import NEVER, Mutation
from fault_campaign.world import LAYERS, World, evaluating, pruning

ODD_KEYS = (
    *("num_labels", "id2label", "attn_implementation", "_attn_implementation", "experts_implementation", "auto_map"),
    *("quantization_config", "text_config", "rope_parameters", "rope_theta", "layer_types", "sliding_window", "dtype"),
    *("head_dim", "num_key_value_heads", "pad_token_id", "eos_token_id", "tie_word_embeddings", "use_cache"),
    *("tokenizer_class", "added_tokens_decoder", "model_max_length", "chat_template", "extra_special_tokens"),
    *("num_beams", "stop_strings", "suppress_tokens", "cache_implementation", "custom_generate", "max_length"),
)
"""Entries that configs of the world's model do not have, or that libraries act on."""
SELDOM_THERE = ("special_tokens_map.json", "added_tokens.json", "chat_template.json", "README.md")
"""Files that some models have."""


def model_file(name: str, ways: tuple[Mutation, ...]) -> Tries:
    """Return a maker of cases in which a file of a model is spoiled in one of these ways."""

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


def seldom_there(world: World, case: Path, draw: random.Random) -> Bad:
    """Put odd content into a file that only some models have."""
    model = _copy(world, case)
    file = model / draw.choice(SELDOM_THERE)
    value = mutations.odd_value(draw)
    content = draw.choice(
        ["[" * mutations.DEEP, json.dumps({"chat_template": value, "eos_token": value, "tags": value})]
    )
    file.write_text(draw.choice([content, f"---\n{content}\n---\n```"]), errors="replace")
    arguments = draw.choice(
        [pruning(world, case / "out", *LAYERS, model=model), evaluating(world, case / "out", model=model)]
    )
    return Bad(arguments, f"{file.name} is {ascii(content)[:60]}")


def odd_config(world: World, case: Path, draw: random.Random) -> Bad:
    """Add an entry with an odd value to a config."""
    model = _copy(world, case)
    name = draw.choice(["config.json", "config.json", "tokenizer_config.json", "generation_config.json"])
    key = draw.choice(ODD_KEYS)
    value = draw.choice([mutations.odd_value(draw), "org/name", [0], {"": "org/name"}, 2**39])
    (model / name).write_text(json.dumps({**json.loads((model / name).read_text()), key: value}))
    arguments = draw.choice(
        [pruning(world, case / "out", *LAYERS, model=model), evaluating(world, case / "out", model=model)]
    )
    return Bad(arguments, f"{name}: {key} is {ascii(value)[:60]}")


def weights(world: World, case: Path, draw: random.Random) -> Bad:
    """Spoil a shard."""
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


def gguf(world: World, case: Path, draw: random.Random) -> Bad:
    """Spoil a GGUF file."""
    file = case / "model.gguf"
    shutil.copy(world.gguf, file)
    spoil = draw.choice((mutations.spoil_bytes, mutations.spoil_bytes, mutations.no_file))
    what = spoil(file, draw)
    return Bad(pruning(world, case / "out", *LAYERS, model=file), what, may_succeed=spoil is not mutations.no_file)


def odd_template(file: Path, draw: random.Random) -> str:
    """Put an odd template in place of a chat template."""
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
