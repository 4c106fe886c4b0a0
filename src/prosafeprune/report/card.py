"""The model card: the source's own, kept, and behind it what was done and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData
from jinja2 import Environment

from prosafeprune.report.record import RECORD_FILE, EditRecord, Record, UnmeasuredRecord

OPENING = """
## Pruned against over-refusal{{ '' if r.measured else ', not measured' }}

{% if adapter -%}
This LoRA adapter removes a small part of the weights of {{ layers }} of `{{ name }}`, as
prosafeprune found it, so that the model answers harmless requests that merely sound risky. Load it with PEFT or a server
that takes LoRA adapters. Its scale may be set from 0 (the source) to 1 (what was measured here);
`prosafeprune apply` makes an ordinary checkpoint of it.
{%- else -%}
This is `{{ name }}` with a small part of the weights of {{ layers }} removed by
prosafeprune, {{ 'so that it answers' if r.measured else 'meant to make it answer' }} harmless requests that merely sound risky. Nothing else about the model changed: it
loads and runs like its source, at the same cost.
{%- endif %}
"""
MEASURED = """
| | source | this {{ "adapter" if adapter else "model" }} | change (95 % interval) |
|---|---|---|---|
{%- for one, two in pairs %}
| {{ what[one.prompt_class.value] }}, {{ one.rate.total }} prompts of {{ one.title }}, % | {{ rate(one.rate) }} | {{ rate(two.rate) }} | {{ change(r.changes[one.name]) }} |
{%- endfor %}
| token KL to the source on {{ r.benign_divergence.prompts }} benign prompts, nats | | {{ '%.4f' % r.benign_divergence.mean }} | |

Answers of at most {{ r.recipe.max_new_tokens }} tokens, judged by `{{ r.judge }}`. Rates in brackets are 95 % Wilson
intervals. These prompts are a sample: measure on your own before you deploy. The model can still answer some harmful
requests and refuse some harmless ones.
"""
UNMEASURED = """
**{{ r.not_measured }}** To do so, serve this model and its source, and run

```
prosafeprune evaluate --endpoint URL --model SOURCE -o before
prosafeprune evaluate --endpoint URL --model THIS_MODEL -o after --against before
```
"""
CLOSING = """
Rank {{ r.plan.rank }}, strength {{ r.plan.strength }}, pooling `{{ r.plan.pooling.value }}`, projection
`{{ r.plan.projection.value }}`. `{{ record_file }}` holds all that is needed to repeat the run.{% if r.experts %} Of the {{ r.all_experts }} experts in these layers,
{{ r.pruned_experts }} were pruned; the others, which too few calibration prompts reach, are as they were.{% endif %} Method: ProSafePrune, *Projected Safety Pruning for Mitigating Over-Refusal
in LLMs* (ICLR 2026).
"""


def write_card(folder: Path, record: Record | UnmeasuredRecord, base_model: str | None, source: Path) -> None:
    """Write README.md into ``folder``; that of a model keeps text and metadata of the one in ``source``.

    ``base_model`` is the hub id of the source, when it has one.
    """
    is_adapter = record.recipe.format == "adapter"
    card = _adapter_card(source / "README.md") if is_adapter else _read(source / "README.md")
    if base_model:
        card.data["base_model"] = base_model
    tags = list(card.data.get("tags") or [])
    ours = ("prosafeprune", "over-refusal") if isinstance(record, Record) else ("prosafeprune", "not-measured")
    card.data["tags"] = [*tags, *(tag for tag in ours if tag not in tags)]
    told = _measured(record, is_adapter) if isinstance(record, Record) else _render(UNMEASURED, r=record)
    opening = _render(OPENING, r=record, adapter=is_adapter, name=_name(record, base_model), layers=_layers(record))
    closing = _render(CLOSING, r=record, record_file=RECORD_FILE)
    text = "\n\n".join(part.strip() for part in (card.text, opening, told, closing) if part.strip())
    (folder / "README.md").write_text(f"---\n{card.data.to_yaml()}\n---\n\n{text}\n", encoding="utf-8")


def _measured(record: Record, is_adapter: bool) -> str:
    return _render(
        MEASURED,
        r=record,
        adapter=is_adapter,
        pairs=list(zip(record.source.sets, record.result.sets, strict=True)),
        what={"pseudo_harmful": "C.R., complies with harmless", "harmful": "S.S., refuses harmful"},
        rate=lambda rate: f"{rate.percent:.1f} [{rate.low:.1f}, {rate.high:.1f}]",
        change=lambda change: f"{change.points:+.1f} [{change.low:+.1f}, {change.high:+.1f}]",
    )


def _render(template: str, **values: Any) -> str:
    return Environment(autoescape=False).from_string(template).render(**values)


def _read(path: Path) -> ModelCard:
    if not path.exists():
        fresh = ModelCardData(pipeline_tag="text-generation", library_name="transformers")
        return ModelCard(f"---\n{fresh.to_yaml()}\n---\n")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return ModelCard(text, ignore_metadata_errors=True)
    except (ValueError, yaml.YAMLError):  # metadata that is no YAML: keep the text as it stands
        return ModelCard(f"---\n{{}}\n---\n{text}")


def _adapter_card(source_card: Path) -> ModelCard:
    """Return a card with nothing of the source's but its terms, which hold for what is made of it."""
    card = ModelCard("---\nlibrary_name: peft\npipeline_tag: text-generation\n---\n")
    source = _read(source_card).data
    for name in ("license", "license_name", "license_link"):
        if source.get(name) is not None:
            card.data[name] = source[name]
    return card


def _name(record: EditRecord, base_model: str | None) -> str:
    # A folder's path says more about the machine it was pruned on than a reader of the card should know.
    return (base_model or Path(record.model.name).name).replace("`", "'")


def _layers(record: EditRecord) -> str:
    numbers = ", ".join(str(layer) for layer in record.plan.layers)
    return f"layer {numbers}" if len(record.plan.layers) == 1 else f"layers {numbers}"
