"""Experts that too few prompts reach: the minimum, and the count of experts left unpruned.

A basis of ``rank`` directions needs at least as many columns, one per prompt that reaches the expert. With no more than
that it would span everything observed, noise included, rather than what the prompts have in common; so twice as many
are required of each class. Either all matrices of an expert are pruned, or none.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from pydantic import BaseModel

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.method.subspaces import TooFewDirections
from prosafeprune.model.submodule import Submodule
from prosafeprune.prompts.prompt_set import PromptClass

PROMPTS_PER_DIRECTION = 2


class ExpertCount(BaseModel):
    """The pruned and unpruned experts of one layer."""

    layer: int
    module: str
    pruned: int
    left_alone: tuple[int, ...]
    """Indices of the experts that too few prompts reach, or whose activations span fewer directions than the rank."""


def edited_together(submodules: Sequence[Submodule]) -> list[list[Submodule]]:
    """Return the submodules of a layer in groups: the matrices of one expert, any other submodule alone."""
    return [list(group) for _, group in groupby(submodules, key=_owner)]


def require_enough_prompts(
    group: Sequence[Submodule], inputs: PooledInputs, class_rows: Mapping[PromptClass, Sequence[int]], rank: int
) -> None:
    """Raise TooFewDirections when the group is an expert that too few prompts of a class reach."""
    if group[0].expert is None:
        return
    for prompt_class, rows in class_rows.items():
        count = min(len(inputs.reaching(submodule, rows)) for submodule in group)
        if count < PROMPTS_PER_DIRECTION * rank:
            raise TooFewDirections(f"{group[0].name}: only {count} {prompt_class.in_words} prompts reach it.")


def count_experts(submodules: Iterable[Submodule], edited: Iterable[Submodule]) -> list[ExpertCount]:
    """Return, per layer with experts, how many of them are among the ``edited`` submodules."""
    pruned = {(submodule.module_name, submodule.expert) for submodule in edited}
    experts: dict[tuple[int, str], list[int]] = {}
    for submodule in submodules:
        if submodule.expert is not None:
            of_module = experts.setdefault((submodule.layer, submodule.module_name), [])
            if submodule.expert not in of_module:
                of_module.append(submodule.expert)
    counts = []
    for (layer, module), numbers in experts.items():
        left_alone = tuple(number for number in numbers if (module, number) not in pruned)
        counts.append(
            ExpertCount(layer=layer, module=module, pruned=len(numbers) - len(left_alone), left_alone=left_alone)
        )
    return counts


def _owner(submodule: Submodule) -> tuple[str, int | None]:
    """Return a key that the matrices of one expert, and no others, have in common."""
    return (submodule.module_name, submodule.expert) if submodule.expert is not None else (submodule.name, None)
