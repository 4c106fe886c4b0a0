"""Plans, training after pruning, and settings of other methods, in words."""

from collections.abc import Mapping
from typing import Any

from prosafeprune.method.plan import Plan, Pooling, Projection
from prosafeprune.report.polish_record import PolishRecord, describe_trial
from prosafeprune.text import listed

POOLINGS = {
    Pooling.SEQUENCE: "mean over all tokens of a prompt, template included",
    Pooling.TAIL: "mean from the user's first token to the end of the prompt",
    Pooling.USER: "mean over the user's tokens",
    Pooling.LAST: "the last token only",
}
PROJECTIONS = {
    Projection.ORTHOGONAL: "the paper's, Eq. 1",
    Projection.OBLIQUE: "leaves harmful and benign outputs unchanged as far as possible",
    Projection.CONTRASTIVE: "adds to harmful outputs a share of what pseudo-harmful ones lose",
}


def plan_facts(plan: Plan) -> list[tuple[str, str]]:
    """Return the settings of a plan with their names."""
    strengths = [f"{plan.strength_of(layer):g}" for layer in plan.layers]
    same = len(set(strengths)) == 1
    return [
        ("layers, counted from 0", ", ".join(map(str, plan.layers))),
        ("strength λ" + ("" if same else ", by layer"), strengths[0] if same else ", ".join(strengths)),
        ("rank of each subspace", str(plan.rank)),
        ("pooling of activations", f"{plan.pooling.value}: {POOLINGS[plan.pooling]}"),
        ("projection", f"{plan.projection_in_words}: {PROJECTIONS[plan.projection]}"),
    ]


def polish_facts(polish: PolishRecord | None) -> list[tuple[str, str]]:
    """Return what the training after pruning did; nothing where none was asked for."""
    if polish is None:
        return []
    if not polish.validation:
        return [("polished by training", f"no: {polish.skipped or 'too few of its own answers could be trained on'}")]
    found = "; ".join(map(describe_trial, polish.validation))
    if not polish.kept:
        return [("polished by training", f"no: {found}")]
    pairs = ", ".join(f"{count} {name.replace('_', '-')}" for name, count in polish.pairs.items())
    how = f"LoRA of rank {polish.rank}, merged at strength {polish.strength:g}; own answers to {pairs} prompts"
    return [("polished by training", how), ("strengths tried, validation prompts", found)]


def values_in_words(values: Mapping[str, Any]) -> str:
    """Return names and values, without those that are None: the method found these itself."""
    named = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in values.items() if value is not None]
    return "; ".join(named)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', '-')} {_value(setting)}" for name, setting in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, str):
        return f"“{value}”" if " " in value else value
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def plan_layers(plan: Plan) -> str:
    """Return a plan's layers with their strengths, such as ``12-19:1`` or ``14:0.9 16:0.5``."""
    if not isinstance(plan.strength, tuple):
        return f"{plan.layers_in_words}:{plan.strength:g}"
    return " ".join(f"{layer}:{plan.strength_of(layer):g}" for layer in plan.layers)


def plan_in_words(plan: Plan) -> str:
    """Return a plan for a sentence, such as ``layers 14 at strength 0.9 and 16 at 0.5, rank 16, tail, contrastive``."""
    strengths = {layer: f"{plan.strength_of(layer):g}" for layer in plan.layers}
    first, *others = strengths.items()
    if len(set(strengths.values())) == 1:
        layers = f"{plan.layers_in_words.replace(',', ', ')} at strength {first[1]}"
    else:
        layers = listed(
            [f"{first[0]} at strength {first[1]}", *(f"{layer} at {strength}" for layer, strength in others)]
        )
    return f"layer{'s' if others else ''} {layers}, {plan.operator_in_words}"
