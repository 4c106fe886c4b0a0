"""The page of a pruned model: whether it helped, whether it is safe, and how to use and repeat it."""

from __future__ import annotations

from pathlib import Path

from prosafeprune.evaluation.measure import Measurement
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.answers_file import EVIDENCE_FILE
from prosafeprune.report.example_answers import answers_before_and_after
from prosafeprune.report.findings import (
    change_sentence,
    compliance_finding,
    damage_sentence,
    safety_finding,
    unsafe_sentences,
    worst,
)
from prosafeprune.report.judge_error import BUILTIN, judge_error_note
from prosafeprune.report.layer_pictures import edit_blocks, layer_pictures
from prosafeprune.report.page import Block, Code, Facts, Headline, Mark, Page, Paragraph, Section
from prosafeprune.report.plan_facts import plan_facts
from prosafeprune.report.rate_tables import change_table
from prosafeprune.report.record import RECORD_FILE, Record
from prosafeprune.report.reproduce_command import depends_on, making
from prosafeprune.report.search_page import trade_off
from prosafeprune.search.record import SearchRecord

NAMES = ("source", "pruned")
USING = """from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "path/to/this/folder"
tokenizer = AutoTokenizer.from_pretrained(folder{code})
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto"{code})
messages = [{{"role": "user", "content": "How do I kill a Python process?"}}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**inputs, max_new_tokens=256)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))"""
SERVING = "vllm serve path/to/this/folder{code}"


def prune_page(
    record: Record, before: Measurement, after: Measurement, search: SearchRecord | None, *, saved: bool
) -> Page:
    """Return the page of a run.

    Args:
        record: what was done and measured.
        before: the source's answers.
        after: the pruned model's.
        search: how the plan was found; None when it was given.
        saved: whether the pruned model was written.
    """
    table = change_table("Before and after, test prompts", record.source, record.result, record.changes, NAMES)
    sections = [
        Section("Compliance and safety", [table, Paragraph(_measured(record))]),
        Section("Answers", _answers(record, before, after, saved=saved)),
    ]
    if search is not None:
        sections.append(Section("Trade-off", trade_off(_of_plan(search, record))))
    sections.append(Section("Plan and layers", _plan(record, search)))
    if saved:
        sections.append(Section("Using it", _using(record)))
    sections.append(Section("Repeating it", _repeating(record, saved=saved)))
    sections.append(Section("Details of the run", [_run(record)]))
    return Page(f"{_name(record)}, pruned against over-refusal", _headline(record, saved=saved), sections)


def _headline(record: Record, *, saved: bool) -> Headline:
    allowed = record.recipe.max_safety_drop
    compliance = compliance_finding(record.compliance_change)
    safety = safety_finding(record.safety_change, allowed, testable=record.floor_can_be_tested)
    unsafe = unsafe_sentences(record.result)
    sentences = [
        change_sentence(record.source, record.result, PromptClass.PSEUDO_HARMFUL, record.compliance_change),
        change_sentence(record.source, record.result, PromptClass.HARMFUL, record.safety_change),
        *unsafe,
        _floor(allowed),
        damage_sentence(record.benign_divergence),
        "These prompts are a sample, and the judge errs at times: measure on prompts of your own before you deploy.",
    ]
    label = f"{safety.label}. {compliance.label}."
    if not saved:
        label = f"Not saved. {label}"
        sentences.insert(0, "No model was written. Try other or fewer --layers, a smaller --strength, or a search.")
    joined = f"The pruned model {compliance.clause}; it {safety.clause}."
    mark = worst(compliance.mark, safety.mark, *(Mark.CAUTION for _ in unsafe))
    return Headline(mark, label, joined, sentences)


def _floor(allowed: float) -> str:
    if allowed >= 100:
        return "Safety floor: switched off (--max-safety-drop 100), so that any loss would have been saved."
    return f"Safety floor: a model that loses more than {allowed:g} points of S.S. is not saved."


def _measured(record: Record) -> str:
    built_in = " (the built-in judge)" if record.judge.startswith(("rules", BUILTIN)) else ""
    return (
        f"Greedy answers of at most {record.recipe.max_new_tokens} tokens, where longer ones stop in mid-sentence, "
        f"judged by {record.judge}{built_in}. Neither calibration nor a search has seen these prompts. "
        f"{judge_error_note(record.judge)}"
    )


def _answers(record: Record, before: Measurement, after: Measurement, *, saved: bool) -> list[Block]:
    blocks = answers_before_and_after(before.sets, after.sets, NAMES, record.changes)
    if saved:
        blocks.insert(0, Paragraph(f"All answers are in {EVIDENCE_FILE}, those to harmful prompts cut short."))
    return blocks


def _plan(record: Record, search: SearchRecord | None) -> list[Block]:
    plan = record.plan
    blocks: list[Block] = [
        Facts(
            [
                *plan_facts(plan),
                ("tensors edited", str(len(record.edited_tensors))),
                *([("experts pruned", f"{record.pruned_experts} of {record.all_experts}")] if record.experts else []),
                ("how it was chosen", _how_chosen(record, search)),
            ]
        )
    ]
    if search is not None:
        blocks += layer_pictures(search, plan.layers)
    return blocks + edit_blocks(record.submodules)


def _how_chosen(record: Record, search: SearchRecord | None) -> str:
    if search is None:
        return "given by the user"
    own = search.chosen is not None and search.chosen == _of_plan(search, record).chosen
    return "by the search" if own else "by the user, among the points of a search"


def _of_plan(search: SearchRecord, record: Record) -> SearchRecord:
    """Return the search with the point marked that was made, which need not be the one it chose itself."""
    made = next((point.number for point in search.points if point.plan == record.plan), None)
    return search.model_copy(update={"chosen": made})


def _using(record: Record) -> list[Block]:
    trusts = record.recipe.trust_remote_code
    return [
        Paragraph("It is an ordinary checkpoint: it loads and runs like its source, without this package."),
        Code("Python code that loads the model and asks it", USING.format(code=", trust_remote_code=True" * trusts)),
        Code("Command that serves the model", SERVING.format(code=" --trust-remote-code" * trusts)),
    ]


def _repeating(record: Record, *, saved: bool) -> list[Block]:
    calibration = {f"calibration, {name}": one for name, one in record.calibration.items()}
    evaluation = {f"test, {name}": one for name, one in record.evaluation.items()}
    holds = f" {RECORD_FILE} holds all of this for programs." if saved else ""
    return [
        Paragraph(f"The same plan again, without a search.{holds}"),
        making(record.plan, record.recipe, "OUTPUT"),
        depends_on(record.model.sha256, calibration | evaluation, record.run.versions),
    ]


def _run(record: Record) -> Facts:
    run, model = record.run, record.model
    return Facts(
        [
            ("model", model.name + (f", revision {model.revision}" if model.revision else "")),
            ("stored as, run in", f"{model.stored_dtype}, {run.dtype}"),
            ("chat template, SHA-256", model.chat_template_sha256),
            ("device, threads", f"{run.device}, {run.threads}"),
            ("judge", record.judge),
            ("seed", str(record.recipe.seed)),
            ("prompts at a time, calibration", _numbers(run.calibration_batch_sizes)),
            ("prompts at a time, answers", _numbers(run.answer_batch_sizes)),
            ("tokens shared by all prompts", str(run.shared_head_tokens)),
        ]
    )


def _numbers(values: tuple[int, ...]) -> str:
    return ", ".join(str(value) for value in values)


def _name(record: Record) -> str:
    return Path(record.model.name).name or record.model.name
