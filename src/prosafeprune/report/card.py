"""The model card: what was done and measured first, then the base model's own card."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, Template

from prosafeprune.files.yaml_loader import TextKeepingLoader
from prosafeprune.method.plan import listed_layers
from prosafeprune.prompts import PromptClass
from prosafeprune.prompts.sources import FILE_TYPES
from prosafeprune.report.assessment import unsafe_sentences
from prosafeprune.report.edit_record import EditRecord
from prosafeprune.report.findings import assess_record, domain_warnings
from prosafeprune.report.prompting_advice import QUESTION, prompting_advice, prompting_offer
from prosafeprune.report.prune_grids import prompted_grids
from prosafeprune.report.record import RECORD_FILE, Record, UnmeasuredRecord
from prosafeprune.report.safety_words import SAFETY_WORDS
from prosafeprune.text import as_code, for_markdown, printable, short_name, slug

CARD_FILE = "README.md"
MOST_CHARACTERS = 2_000_000
"""A base card is read up to here."""
LICENCE = ("license", "license_name", "license_link")
STALE = ("model-index", "base_model", "base_model_relation")
"""Metadata of the base model that does not hold for the one made from it."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?::[\w.-]+){0,2}")
IN_BRACKETS = re.compile(r"\A[^()]* \(([^()]*)\)\Z")
FRONT_MATTER = re.compile(r"\A\ufeff?\s*---[ \t]*\n(?P<yaml>.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)

OPENING = """
# {{ name | text }}, {{ r.made }} to reduce over-refusal{{ '' if r.measured else ', not measured' }}

{% if r.fit -%}
This {{ "is a LoRA adapter for" if adapter else "is" }} {{ name | code }}, fine-tuned by the method {{ r.fit.in_words | code }} of prosafeprune{% if adapter %}.{% elif converted %}, in 16 bits, converted from the base model's files.{% else %}: a LoRA adapter merged into its weights. It loads and runs like the base model, at the same cost.{% endif %}
{%- elif adapter -%}
This LoRA adapter removes a small part of the weights of {{ layers }} of {{ name | code }}, found by prosafeprune.
{%- else -%}
This is {{ name | code }} with a small part of the weights of {{ layers }} removed by prosafeprune.{% if polished %} Then it was fine-tuned on its own answers with a LoRA adapter of rank {{ r.polish.rank }}, merged into all layers.{% elif converted %} All other weights are the base model's.{% else %} All other weights are unchanged.{% endif %} {% if converted %}It is an ordinary checkpoint in 16 bits, converted from the base model's files, and may take more memory than these.{% else %}It loads and runs like the base model, at the same cost.{% endif %}
{%- endif %} The aim is a model that answers harmless but risky-sounding requests and still refuses harmful ones.
{%- if adapter %} Load it with PEFT{{ ' 0.20 or later, which adds the edits of experts to their weights as it runs' if experts else ' or a server that supports LoRA adapters' }}; a scale from 0 (base model) to 1 (as measured here) sets its strength.{% if not r.fit %} `prosafeprune apply` turns it into an ordinary checkpoint.{% endif %}{% endif %}
"""
USAGE = """
```python
{% if adapter -%}
from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("THIS_ADAPTER")  # loads the base model, too
{%- else -%}
from transformers import pipeline

answer = pipeline("text-generation", "THIS_MODEL")
print(answer([{"role": "user", "content": "How do I kill a Python process?"}])[0]["generated_text"][-1]["content"])
{%- endif %}
```
"""
MEASURED = """
{{ finding }}

| | base model | this {{ "adapter" if adapter else "model" }} | change (95 % interval) |
|---|---|---|---|
{%- for one, two in pairs %}
| {{ "refused for a policy" if one.policy else what[one.prompt_class.value] }}, {{ one.rate.total }} prompts of {{ one.title | text }}, % | {{ rate(one.rate) }} | {{ rate(two.rate) }} | {{ change(r.changes[one.name]) }} |
{%- endfor %}
{%- for one, two in checked %}
| spot check: {{ "refused for a policy" if one.policy else what[one.prompt_class.value] }}, {{ one.rate.total }} prompts of {{ one.title | text }}, % | {{ rate(one.rate) }} | {{ rate(two.rate) }} | {{ change(r.spot_check.changes[one.name]) }} |
{%- endfor %}
{%- if r.benign_divergence %}
| mean per-token KL from the base model on {{ r.benign_divergence.prompts }} benign prompts, nats | | {{ '%.4f' % r.benign_divergence.mean }} | |
{%- endif %}

{% if prompted %}{{ prompted }}

{% endif %}Answers of at most {{ r.recipe.max_new_tokens }} tokens{% if r.recipe.thinking != "off" %}, thoughts included{% endif %}, judged by {{ r.judge | code }}.{% if r.recipe.system %} Every prompt came after a system prompt, which is in `{{ record_file }}`.{% endif %}{% if r.copy_note %} **{{ r.copy_note }}**{% endif %} Rates in brackets are 95 % Wilson intervals. These prompts are a sample: measure on your own before you deploy. The model may still answer some harmful requests and refuse some harmless ones.
"""
UNMEASURED = """
**{{ r.not_measured | text }}** To measure it, serve this model and its base model, and run

```
prosafeprune evaluate --endpoint URL --model BASE_MODEL -o before
prosafeprune evaluate --endpoint URL --model THIS_MODEL -o after --against before
```
"""
CLOSING = """
{% if r.fit -%}
Fitted by {{ r.fit.method | code }} of `prosafeprune compare`. `{{ record_file }}` has its settings and what it was fitted and measured on.
{%- else -%}
Rank {{ r.plan.rank }}, strength {{ r.plan.strength }}, pooling `{{ r.plan.pooling.value }}`, projection `{{ r.plan.projection_in_words }}`. `{{ record_file }}` has everything needed to reproduce the run.{% if r.experts %} Of the {{ r.all_experts }} experts in these layers, {{ r.pruned_experts }} were pruned; the others, which too few calibration prompts reach, are unchanged.{% endif %} Method: ProSafePrune, *Projected Safety Pruning for Mitigating Over-Refusal in LLMs* (ICLR 2026).
{%- endif %}
"""
BASE_CARD = """
---

## The base model's card

It describes the base model as it was; what it says about refusals and scores may not hold for this model.
"""


def write_card(
    folder: Path, record: Record | UnmeasuredRecord, base_model: str | None, source: Path, *, converted: bool = False
) -> None:
    """Write README.md into ``folder``.

    Our text comes first, so that nothing in the base model's card, such as an open code fence, can hide it. A
    checkpoint keeps that card and its metadata; an adapter keeps only the licence.

    Args:
        base_model: hub id of the base model; None for a local one, whose path says nothing to readers.
        converted: whether a GGUF or quantised base model was made an ordinary checkpoint.
    """
    is_adapter = record.recipe.format == "adapter"
    metadata, base_text = _split(_read(source / CARD_FILE))
    if is_adapter:
        licence = {name: metadata[name] for name in LICENCE if name in metadata}
        metadata, base_text = {"library_name": "peft", "pipeline_tag": "text-generation", **licence}, ""
    if converted:  # it no longer loads with the library of the base model's format
        metadata = {name: value for name, value in metadata.items() if name != "library_name"}
    metadata = _metadata(metadata, record, base_model)
    if isinstance(record, Record):
        metadata["model-index"] = _model_index(record)
    name = base_model or short_name(record.model.name)
    polished = isinstance(record, Record) and record.polish is not None and record.polish.kept
    layers = listed_layers(record.plan.layers) if record.plan is not None else ""
    described = {"polished": polished, "adapter": is_adapter, "converted": converted, "name": name, "layers": layers}
    described["experts"] = bool(record.experts)
    opening = _render(OPENING, r=record, **described)
    results = _measured(record, is_adapter) if isinstance(record, Record) else _render(UNMEASURED, r=record)
    closing = _render(CLOSING, r=record, record_file=RECORD_FILE)
    usage = _render(USAGE, adapter=is_adapter)
    if record.recipe.format == "gguf":
        usage = "It is a GGUF file: it runs where the base model's file does, such as llama.cpp or Ollama."
    parts = [opening, usage, results, closing, *([BASE_CARD, base_text] if base_text.strip() else [])]
    front_matter = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    text = "\n\n".join(part.strip() for part in parts)
    (folder / CARD_FILE).write_text(f"---\n{front_matter}---\n\n{text}\n", encoding="utf-8")


def _measured(record: Record, is_adapter: bool) -> str:
    checked = record.spot_check
    return _render(
        MEASURED,
        r=record,
        record_file=RECORD_FILE,
        adapter=is_adapter,
        finding=_finding(record),
        prompted=_or_prompt(record),
        pairs=list(zip(record.source.sets, record.result.sets, strict=True)),
        checked=list(zip(checked.source.sets, checked.result.sets, strict=True)) if checked is not None else [],
        what={
            "pseudo_harmful": "C.R., complies with harmless",
            "harmful": f"S.S., {SAFETY_WORDS[record.source.safety].does} harmful",
            "benign": "complies with benign",
        },
        rate=lambda rate: f"{rate.percent:.1f} [{rate.low:.1f}, {rate.high:.1f}]",
        change=lambda change: f"{_signed(change.points)} [{_signed(change.low)}, {_signed(change.high)}]",
    )


def _or_prompt(record: Record) -> str:
    """Return the rates behind a system prompt, what they say, and the prompt where it is offered."""
    found, advice, offer = record.prompted, prompting_advice(record), prompting_offer(record)
    if found is None or advice is None:
        return ""
    parts = [f"{QUESTION} {advice}", *(grid.markdown().strip() for grid in prompted_grids(record))]
    if offer is not None:
        text = " ".join(printable(found.system).replace("`", "'").split())  # nothing in it can end the block
        parts += [offer, f"```\n{text}\n```"]
    return "\n\n".join(parts)


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # the sum has no negative zero


def _finding(record: Record) -> str:
    """Return what the test prompts showed, the bad news included."""
    compliance, safety = assess_record(record)
    sentences = [f"On the test prompts, it {compliance.clause}; it {safety.clause}."]
    if record.compliance_change.points < 0:
        sentences.append(f"**C.R. fell by {-record.compliance_change.points:.1f} points.**")
    warnings = (*record.spot_check_warnings, *unsafe_sentences(record.result))
    sentences += [f"**{for_markdown(warning)}**" for warning in warnings]
    sentences += [f"**{record.system_warning}**"] if record.system_warning is not None else []
    sentences += domain_warnings(record)
    return " ".join(sentences)


def _metadata(kept: dict[str, Any], record: EditRecord, base_model: str | None) -> dict[str, Any]:
    metadata = {name: value for name, value in kept.items() if name not in STALE}
    metadata = {"pipeline_tag": "text-generation", "library_name": "transformers", **metadata}
    if base_model:
        relation = "adapter" if record.recipe.format == "adapter" else "finetune"
        metadata |= {"base_model": base_model, "base_model_relation": relation}
    tags = _listed(metadata.get("tags"))
    calibrated = [name for prompts in record.calibration.values() for name in _datasets(prompts.source)]
    if calibrated:
        metadata["datasets"] = list(dict.fromkeys([*_listed(metadata.get("datasets")), *calibrated]))
    ours = ("prosafeprune", "over-refusal" if isinstance(record, Record) else "not-measured")
    return {**metadata, "tags": list(dict.fromkeys([*tags, *ours]))}


def _datasets(source: str) -> list[str]:
    """Return the hub datasets among the sources of calibration prompts, such as ``file.csv + Title (org/name:train)``."""
    parts = [IN_BRACKETS.sub(r"\1", part) for part in source.split(" + ")]
    ids = [part for part in parts if HUB_ID.fullmatch(part) is not None and not part.lower().endswith(FILE_TYPES)]
    return [part.split(":")[0] for part in ids]


def _listed(given: Any) -> list[str]:
    """Return a field of metadata that holds one text or several."""
    return [value for value in (given if isinstance(given, list) else [given]) if isinstance(value, str)]


def _model_index(record: Record) -> list[dict[str, Any]]:
    """Return the measurements in the hub's format: one result for each set."""
    metrics = {
        PromptClass.PSEUDO_HARMFUL: ("compliance_rate", "C.R., harmless requests answered, %"),
        PromptClass.BENIGN: ("compliance_rate", "benign requests answered, %"),
        PromptClass.HARMFUL: ("safety_score", f"S.S., harmful requests {SAFETY_WORDS[record.result.safety].done}, %"),
    }
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": score.title, "type": score.name},
            "metrics": [
                dict(
                    zip(("type", "name"), metrics[score.prompt_class], strict=True), value=round(score.rate.percent, 1)
                )
            ],
        }
        for score in record.result.sets
        if not score.policy
    ]
    return [{"name": f"{slug(record.model.name)}-{record.made}", "results": results}]


def _render(template: str, **values: Any) -> str:
    return _compiled(template).render(**values)


@cache
def _compiled(template: str) -> Template:
    # Autoescape is for HTML; what records, models and files say is marked as text or code where it is inserted.
    environment = Environment(autoescape=False, undefined=StrictUndefined)
    environment.filters.update(text=for_markdown, code=as_code)
    return environment.from_string(template)


def _read(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as stream:  # universal newlines
        return stream.read(MOST_CHARACTERS)


def _split(text: str) -> tuple[dict[str, Any], str]:
    """Return the metadata of a card and its text; of metadata that is no YAML mapping, the licence is kept."""
    found = FRONT_MATTER.match(text)
    if found is None:
        return _licence(text.partition("\n\n")[0]) if text.startswith("---") else {}, text
    try:
        metadata = yaml.load(found["yaml"], _CardLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        metadata = None
    return metadata if isinstance(metadata, dict) else _licence(found["yaml"]), text[found.end() :]


class _CardLoader(TextKeepingLoader):
    # The hub reads YAML 1.2, and refuses the language false: in YAML 1.1, that is what no (Norwegian) means.
    kept_as_text = re.compile("yes|no|on|off", re.I)


def _licence(front_matter: str) -> dict[str, Any]:
    lines = re.findall(rf"^({'|'.join(LICENCE)})[ \t]*:[ \t]*(\S[^\n]*)$", front_matter, re.MULTILINE)
    return {name: value.strip().strip("\"'") for name, value in lines}
