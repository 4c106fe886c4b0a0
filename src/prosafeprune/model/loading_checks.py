"""What must hold of a model before it is used: it has the weights on disk, and it runs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers

from prosafeprune.errors import InputError
from prosafeprune.model.batches import accepted, cache_option, takes_cache
from prosafeprune.model.running import told_if_it_cannot_run
from prosafeprune.model.stored_names import (
    parameters_of,
    require_complete,
    require_no_further_layers,
    require_one_each,
    require_real_numbers,
    stored_entries,
    warn_of_unused,
)
from prosafeprune.progress import Reporter


def require_stored_once(meta: Any, folder: Path, name: str) -> None:
    """Raise InputError when two tensors on disk become one of the model, or one holds no real numbers."""
    entries = stored_entries(folder)
    found = parameters_of(meta, entries)
    require_one_each(found, meta.state_dict(), name)
    require_real_numbers(found, {key: entry.dtype for key, (_, entry) in entries.items()}, meta, name)


def require_as_stored(model: Any, found: dict[str, Any], name: str, reporter: Reporter) -> None:
    """Raise InputError unless the model has the weights on disk; warn of stored tensors that it does not use."""
    known, unused = set(model.state_dict()), set(found.get("unexpected_keys") or ())
    require_complete([*found["missing_keys"], *(mismatch[0] for mismatch in found["mismatched_keys"])], name)
    require_no_further_layers(unused, known, name)
    warn_of_unused(unused, name, reporter)
    require_finite(model.named_parameters(), name)
    # transformers unties tensors that its config ties and that are both stored, with different values.
    untied = model.get_expanded_tied_weights_keys(all_submodels=True).keys() - model.all_tied_weights_keys.keys()
    if untied:
        reporter.warning(
            f"{name}: its config.json ties {min(untied)} to another tensor, but both are stored, and differ. They are "
            "used as stored; other software may use one of them alone. Set tie_word_embeddings to false there."
        )


@torch.no_grad()
def require_runs(model: Any, name: str, dtype: str) -> None:
    """Raise InputError when a model fails on four tokens, the last two after a cache of the first two, or gives NaN.

    A model without a cache is refused: its answers would be made from their last token alone.
    """
    if not takes_cache(model):
        raise InputError(
            f"{name}: {model.config.model_type} keeps no keys and values in a cache, so its answers cannot be "
            "generated. This architecture is not supported."
        )
    with told_if_it_cannot_run(name, "Check its config.json."):
        cache = transformers.DynamicCache(config=model.config)
        for _ in range(2):
            ids = torch.zeros(1, 2, dtype=torch.long, device=model.get_input_embeddings().weight.device)
            options = accepted(model, **cache_option(model, cache), use_cache=True)
            logits = model(input_ids=ids, **options).logits
    if bool(logits.isnan().any()):
        raise InputError(f"{name}: produces NaN in {dtype}. Try another --dtype.")


def require_finite(parameters: Iterable[tuple[str, torch.Tensor]], name: str) -> None:
    """Raise InputError when one of these parameters of the model ``name`` holds NaN or infinite values."""
    for parameter_name, parameter in parameters:
        # A sum is not finite if any term is not, and takes no extra memory.
        if not torch.isfinite(parameter.sum(dtype=torch.float64 if parameter.device.type != "mps" else torch.float32)):
            raise InputError(
                f"{name}: {parameter_name} holds NaN or infinite values. The checkpoint is damaged; fetch it again."
            )
