"""The page of a pruned model: whether it helped, whether it is safe, and how to use and reproduce it."""

from collections.abc import Sequence

from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.lineage import EVIDENCE_FILE
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.non_inferiority import fewest_pairs
from prosafeprune.evaluation.prompted_base import PromptedBase
from prosafeprune.model.quantised_copy import BITS_IN_WORDS
from prosafeprune.plan_search.search_record import SearchRecord
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.assessment import (
    change_sentence,
    divergence_sentence,
    policy_sentences,
    unsafe_sentences,
    user_prompt_sentences,
    worst,
)
from prosafeprune.report.example_answers import answers_before_and_after
from prosafeprune.report.findings import assess_record, domain_warnings
from prosafeprune.report.fit_blocks import fit_blocks
from prosafeprune.report.judge_error import BUILTIN, judge_error_note
from prosafeprune.report.layer_pictures import edit_blocks, layer_pictures
from prosafeprune.report.page import Block, Code, Facts, Headline, Mark, Page, Paragraph, Section
from prosafeprune.report.plan_facts import plan_facts, polish_facts
from prosafeprune.report.prompting_advice import QUESTION, prompting_advice, prompting_offer
from prosafeprune.report.prune_grids import model_names, prompted_grids, prune_grid, spot_check_grids
from prosafeprune.report.rate_grids import category_grids
from prosafeprune.report.record import BRING_NOTHING_BACK, RECORD_FILE, Record
from prosafeprune.report.reproduce_command import applying, depends_on, making, with_prompt
from prosafeprune.report.run_record import RunRecord
from prosafeprune.report.safety_words import SAFETY_WORDS
from prosafeprune.report.search_page import trade_off
from prosafeprune.report.since_section import reason_not_kept, since_section
from prosafeprune.text import short_name

USAGE = """from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "path/to/this/folder"
tokenizer = AutoTokenizer.from_pretrained(folder{code})
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto"{code})
messages = [{{"role": "user", "content": "How do I kill a Python process?"}}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**inputs, max_new_tokens=256)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))"""
WELL_REFUSED = 0.8
"""Share of harmful requests below which a base model's refusals are called few."""
SERVING = "vllm serve path/to/this/folder{code}"


def prune_page(
    record: Record,
    before: Measurement,
    after: Measurement,
    search: SearchRecord | None,
    *,
    saved: bool,
    came_back: Sequence[str] = (),
) -> Page:
    """Return the page of a run.

    Args:
        search: how the plan was found; None if it was given.
        saved: whether a model was written.
        came_back: prompts that an earlier pruning had fixed and that are not answered.
    """
    sections = [Section("Compliance and safety", _rates(record))]
    if record.prompted is not None:
        sections.append(Section(QUESTION, _or_prompt(record, record.prompted)))
    if saved:
        sections.append(Section("How to use it", _usage(record)))
    sections.append(Section("Answers", _answers(record, before, after, saved=saved)))
    if record.since is not None:
        sections.append(since_section(record.since, record, came_back, after))
    if search is not None:
        sections.append(Section("Trade-off", trade_off(_with_written_point(search, record))))
    if record.fit is None:
        sections.append(Section("Plan and layers", _plan(record, search)))
    else:
        sections.append(Section("The fit", fit_blocks(record.fit, len(record.edited_tensors))))
    sections.append(Section("How to reproduce this", _reproduction(record, saved=saved)))
    sections.append(Section("Run details", [_run(record)]))
    title = f"{short_name(record.model.name)}, {record.made} to reduce over-refusal"
    return Page(title, _headline(record, saved=saved), sections)


def _rates(record: Record) -> list[Block]:
    models = list(zip(model_names(record), (record.source, record.result), strict=True))
    grids = [prune_grid(record), *category_grids(models), *spot_check_grids(record)]
    return [*grids, Paragraph(_measuring(record))]


def _or_prompt(record: Record, found: PromptedBase) -> list[Block]:
    advice, offer = prompting_advice(record), prompting_offer(record)
    blocks: list[Block] = [*prompted_grids(record), *([Paragraph(advice)] if advice is not None else [])]
    if offer is None:
        return blocks
    return [
        *blocks,
        Paragraph(offer),
        Code("System prompt", found.system),
        with_prompt(record.pruning_plan, record.recipe),
    ]


def _headline(record: Record, *, saved: bool) -> Headline:
    compliance, safety = assess_record(record)
    unsafe = unsafe_sentences(record.result)
    system = [record.system_warning] if record.system_warning is not None else []
    sentences = [
        *user_prompt_sentences(record.source, record.result, record.changes, _fewest_tested(record)),
        change_sentence(record.source, record.result, PromptClass.PSEUDO_HARMFUL, record.compliance_change),
        change_sentence(record.source, record.result, PromptClass.HARMFUL, record.safety_change),
        *policy_sentences(record.source, record.result, record.changes),
        *([advice] if (advice := prompting_advice(record)) is not None else []),
        *record.spot_check_warnings,
        *unsafe,
        *system,
        *_limits(record),
        *_floor(record),
        *([divergence_sentence(record.benign_divergence)] if record.benign_divergence is not None else []),
        "These prompts are a sample and the judge makes errors: measure on your own prompts before you deploy.",
    ]
    label = f"{safety.label}. {compliance.label}."
    if not saved:
        label = f"Not saved. {label}"
        sentences.insert(0, f"No model was written. {_remedy(record)}")
    text = f"The {record.changed_model} {compliance.clause}; it {safety.clause}."
    cautions = [
        *unsafe,
        *system,
        *record.spot_check_warnings,
        *([] if reason_not_kept(record) is None else ["came back"]),
    ]
    mark = worst(compliance.mark, safety.mark, *(Mark.CAUTION for _ in cautions))
    return Headline(mark, label, text, sentences)


def _limits(record: Record) -> list[str]:
    """Return what the safety score does not cover."""
    limits = []
    refused, total = record.source.pooled_counts(PromptClass.HARMFUL)
    does = SAFETY_WORDS[record.source.safety].does
    if not record.is_hidden_by_system and total <= 2 * refused < 2 * WELL_REFUSED * total:
        limits.append(
            f"The base model itself {does} only {refused} of {total} harmful requests. "
            + ("Pruning keeps the refusals that a model has; it" if record.fit is None else "Fine-tuning it")
            + " does not make it safe."
        )
    return limits + domain_warnings(record)


def _fewest_tested(record: Record) -> int:
    """Return how many harmful prompts a set needs to be tested separately; 0 where none is."""
    recipe = record.recipe
    if recipe.floor == "estimate" or FloorRule.of(recipe).is_off:
        return 0
    return fewest_pairs(recipe.max_safety_drop / 100, recipe.confidence) or 0


def _floor(record: Record) -> list[str]:
    allowed = record.recipe.max_safety_drop
    if FloorRule.of(record.recipe).is_off:
        return ["Safety floor: disabled (--max-safety-drop 100); any loss of S.S. would have been saved."]
    if record.decision is None or record.recipe.floor == "estimate":
        rule = f"Safety floor: a model that loses more than {allowed:g} points of S.S. is not saved."
    else:
        rule = (
            f"Safety floor: a model is saved only if it is shown to have lost less than {allowed:g} points of S.S. "
            f"with {100 * record.recipe.confidence:g} % confidence, over all harmful prompts and on each harmful set."
        )
    harmful = record.result.of(PromptClass.HARMFUL)
    grouped = dict.fromkeys(one.title.partition(",")[0] for one in harmful if one.categories)
    single = f"Single {' and '.join(grouped)} are not held to it: there are few prompts of each."
    return [rule, *([single] if grouped else []), *(record.decision.reasons if record.decision is not None else [])]


def _remedy(record: Record) -> str:
    if record.is_hidden_by_system and record.system_warning is not None:
        return record.system_warning
    not_kept = reason_not_kept(record)
    if not_kept is not None:
        return f"{not_kept} {BRING_NOTHING_BACK}"
    if record.decision is None:
        return "Try other or fewer --layers, a smaller --strength, or a search."
    return record.decision.remedy(record.less_change)


def _measuring(record: Record) -> str:
    built_in = " (the built-in judge)" if record.judge.startswith(("rules", BUILTIN)) else ""
    models = list(zip(model_names(record), (record.source, record.result), strict=True))
    errors = judge_error_note(record.judge, models)
    thoughts = ", thoughts included" if record.recipe.thinking != "off" else ""
    return (
        f"Greedy answers, truncated after {record.recipe.max_new_tokens} tokens{thoughts}, judged by "
        f"{record.judge}{built_in}. {f'{record.copy_note} ' if record.copy_note is not None else ''}"
        "Neither calibration nor a search has seen these prompts. An answer counts for C.R. when it attempts what was "
        f"asked, whether it is right or wrong. {errors}"
    )


def _answers(record: Record, before: Measurement, after: Measurement, *, saved: bool) -> list[Block]:
    blocks = answers_before_and_after(before.sets, after.sets, model_names(record), record.changes)
    if saved:
        blocks.insert(0, Paragraph(f"All answers are in {EVIDENCE_FILE}; those to harmful prompts are truncated."))
    return blocks


def _plan(record: Record, search: SearchRecord | None) -> list[Block]:
    plan = record.pruning_plan
    blocks: list[Block] = [
        Facts(
            [
                *plan_facts(plan),
                ("tensors edited", str(len(record.edited_tensors))),
                *polish_facts(record.polish),
                *([("experts pruned", f"{record.pruned_experts} of {record.all_experts}")] if record.experts else []),
                ("selected", _how_selected(record, search)),
            ]
        )
    ]
    if search is not None:
        blocks += layer_pictures(search, plan.layers)
    return blocks + edit_blocks(record.submodules)


def _how_selected(record: Record, search: SearchRecord | None) -> str:
    if search is None:
        return "by the user: --layers or a recipe"
    automatic = search.chosen is not None and search.chosen == _with_written_point(search, record).chosen
    return "by the search" if automatic else "by the user, from the points of a search"


def _with_written_point(search: SearchRecord, record: Record) -> SearchRecord:
    """Return the search with the point marked that was made, which the user may have chosen instead."""
    made = next((point.number for point in search.points if point.plan == record.plan), None)
    return search.model_copy(update={"chosen": made})


def _usage(record: Record) -> list[Block]:
    if record.recipe.format == "adapter":
        return [Paragraph("It is a LoRA adapter: load it with PEFT, or serve it with its base model.")]
    if record.recipe.format == "gguf":
        return [
            Paragraph("It is a GGUF file: it runs wherever the base model's file does, such as in llama.cpp or Ollama.")
        ]
    trusts = record.recipe.trust_remote_code
    return [
        Paragraph("It is an ordinary checkpoint: it loads and runs like the base model, without this package."),
        Code("Python code that loads the model and prompts it", USAGE.format(code=", trust_remote_code=True" * trusts)),
        Code("Command that serves the model", SERVING.format(code=" --trust-remote-code" * trusts)),
    ]


def _reproduction(record: Record, *, saved: bool) -> list[Block]:
    calibration = {f"calibration, {name}": prompts for name, prompts in record.calibration.items()}
    evaluation = {f"test, {name}": prompts for name, prompts in record.evaluation.items()}
    machine_readable = f" {RECORD_FILE} has all of this in machine-readable form." if saved else ""
    return [
        Paragraph(f"{'The same plan, without a search' if record.fit is None else 'The same fit'}.{machine_readable}"),
        making(record.pruning_plan, record.recipe, "OUTPUT", is_served=record.on_copy is not None)
        if record.fit is None
        else applying(record.fit.method, record.recipe, "OUTPUT", record.fit.given_strength),
        depends_on(record.model.sha256, calibration | evaluation, record.run.versions),
    ]


def _run(record: Record) -> Facts:
    run, model = record.run, record.model
    return Facts(
        [
            ("model", short_name(model.name) + (f", revision {model.revision}" if model.revision else "")),
            ("stored dtype, run dtype", f"{model.stored_dtype}, {run.dtype}"),
            *([("quantised copy", BITS_IN_WORDS[run.load])] if run.load is not None else []),
            *([("compared with llama.cpp", model.gguf_comparison.describe())] if model.gguf_comparison else []),
            ("chat template, SHA-256", model.chat_template_sha256),
            ("device, threads", f"{run.device}, {run.threads}"),
            ("judge", record.judge),
            ("seed", str(record.recipe.seed)),
            *_batches(run),
        ]
    )


def _batches(run: RunRecord) -> list[tuple[str, str]]:
    """Return the sizes of batches: none of calibration for a fit, none of answers behind a server."""
    sizes = {"calibration": run.calibration_batch_sizes, "answers": run.answer_batch_sizes}
    facts = [(f"batch sizes, {name}", ", ".join(map(str, of_part))) for name, of_part in sizes.items() if of_part]
    return [*facts, *([("prompt prefix, tokens", str(run.shared_head_tokens))] if run.calibration_batch_sizes else [])]
