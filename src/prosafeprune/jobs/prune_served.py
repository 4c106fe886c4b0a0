"""``prune --memory low --serve-with``: a model larger than memory, measured behind servers before and after."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from prosafeprune.checkpoint.writer import copy_companions
from prosafeprune.errors import InputError
from prosafeprune.evaluation.conditions import Conditions
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.lineage import first_ancestor, read_lineage
from prosafeprune.evaluation.measure import Measurement, warn_of_languages, warn_of_short_answers
from prosafeprune.evaluation.prompts_record import prompts_record
from prosafeprune.files.staging import claimed_output
from prosafeprune.generation import Decoding
from prosafeprune.generation.endpoint import EndpointGenerator
from prosafeprune.generation.local_server import server_identity, serving
from prosafeprune.jobs.kept_answers import measure_once
from prosafeprune.jobs.measure_edits import BeforeAfter
from prosafeprune.jobs.prune import reported_only, write_measured
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.jobs.prune_unmeasured import LayerwisePruning, prune_streamed, require_streamable
from prosafeprune.jobs.safety_gate import SafetyFloorError, output_measured_inside
from prosafeprune.judges import Judge
from prosafeprune.judges.registry import make_judge
from prosafeprune.model.chat_template import always_opens_thought, set_thinking, thinking_variables
from prosafeprune.model.companions import companions_hash
from prosafeprune.model.loading import load_tokenizer
from prosafeprune.model.model_hash import model_hash
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.report.edit_record import EditRecord
from prosafeprune.report.page import REPORT_FILE
from prosafeprune.report.prune_page import prune_page
from prosafeprune.report.record import Record
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.prepare import PreparedRun, checkpoint_folder, prepare_run, require_servable
from prosafeprune.streaming.streamed_checkpoint import StreamedCheckpoint


def run_prune_served(
    recipe: Recipe, output: Path | None, command: str, *, overwrite: bool = False, reporter: Reporter = SILENT
) -> PruneResult:
    """Prune the given layers with one in memory at a time, and measure base and pruned model behind a server.

    The server is started on the base model and stopped, then on the pruned one. That is saved only if it keeps the
    safety floor, as in an ordinary run; the benign KL is not measured, since servers do not give all probabilities.

    Args:
        command: serves a folder with an OpenAI-compatible API; has ``{model}`` and ``{port}``.

    Raises:
        InputError: something in the recipe, the model or the command cannot be used, or there is no output.
    """
    command = require_servable(recipe, output, command)
    prepared = prepare_run(recipe, output, overwrite, reporter)
    assert prepared.output is not None
    require_streamable(prepared.source)
    judge = make_judge(prepared.recipe, prepared.reporter)
    warn_of_short_answers(prepared.recipe.max_new_tokens, prepared.reporter)
    with (
        claimed_output(prepared.output, overwrite),
        checkpoint_folder(prepared.source, prepared.output, prepared.reporter) as folder,
    ):
        return _prune_and_measure(prepared, judge, command, folder, prepared.output, overwrite)


def _prune_and_measure(
    prepared: PreparedRun, judge: Judge, command: str, folder: Path, output: Path, overwrite: bool
) -> PruneResult:
    base_sha256 = model_hash(prepared.source.path)
    before = measure_served(prepared, judge, command, folder, {"model": base_sha256}, "Answers of the base model")
    try:
        with output_measured_inside(output, overwrite=overwrite) as staging:
            copy_companions(folder, staging)
            pruning = prune_streamed(prepared, folder, StreamedCheckpoint(folder, staging), staging)
            made_by = {"model": base_sha256, "pruned": model_hash(staging)}
            after = measure_served(prepared, judge, command, staging, made_by, "Answers of the pruned model")
            result = _result(prepared, judge, pruning, base_sha256, before, after)
            page = prune_page(result.record, before, after, None, saved=result.is_safe)
            result = write_measured(result, staging, page, prepared.source, folder)
    except SafetyFloorError:
        return reported_only(result, output, page)
    return replace(result, output=output, report=output / REPORT_FILE)


def measure_served(
    prepared: PreparedRun, judge: Judge, command: str, folder: Path, made_by: dict[str, Any], title: str
) -> Measurement:
    """Measure the model in a folder behind a server, which is started and stopped here."""
    recipe = prepared.recipe
    extra = switched_thinking(prepared.recipe, prepared.source.name, folder)
    with serving(command, folder, prepared.reporter) as url:
        generator = EndpointGenerator(url, str(folder), system=recipe.system, extra=extra, reporter=prepared.reporter)
        generator.check()
        identity = {
            **made_by,
            "served": server_identity(command),
            "thinking": recipe.thinking,
            "system": recipe.system,
            "companions": companions_hash(folder),
        }
        decoding = Decoding(max_new_tokens=recipe.max_new_tokens)
        measured, _ = measure_once(
            identity, lambda: generator, prepared.evaluation, judge, decoding, prepared.reporter, title
        )
    return measured


def switched_thinking(recipe: Recipe, name: str, folder: Path) -> dict[str, Any]:
    """Return the request field that makes a server think as in calibration; none where the template has no switch.

    Raises:
        InputError: only ending the thought that the template opens keeps the model from it, which no request can ask.
    """
    tokenizer = load_tokenizer(folder, name, trust_remote_code=recipe.trust_remote_code, system=recipe.system)
    switches = set_thinking(tokenizer, recipe.thinking, name)
    if recipe.thinking == "off" and always_opens_thought(tokenizer):
        raise InputError(
            f"--thinking off: the chat template of {name} opens a thought whatever it is asked, so behind a server the "
            "model thinks. Use --thinking on, with --max-new-tokens for thought and answer."
        )
    return {"chat_template_kwargs": thinking_variables(recipe.thinking == "on")} if switches else {}


def _result(
    prepared: PreparedRun, judge: Judge, pruning: LayerwisePruning, sha256: str, before: Measurement, after: Measurement
) -> PruneResult:
    recipe, source = prepared.recipe, prepared.source
    warn_of_languages([before, after], prepared.reporter)
    ancestor = first_ancestor(source.path, read_lineage(source.path), Conditions.of(judge.name, recipe))
    edit = pruning.record(sha256)
    record = Record(
        **{name: getattr(edit, name) for name in EditRecord.model_fields},
        judge=judge.name,
        evaluation={test_set.name: prompts_record(test_set.prompts) for test_set in prepared.evaluation},
        **BeforeAfter(before, after, None, ()).recorded(FloorRule.of(recipe), ancestor),
    )
    if record.system_warning is not None:
        prepared.reporter.warning(record.system_warning)
    return PruneResult(record, before, after, None, None, ancestor=ancestor)
