"""Uploading a written model to the hub, with its card, report and record.

Only what kept the safety floor is uploaded: the record of the folder is checked again. The token comes from the
environment (``HF_TOKEN``), never from a file or an option.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prosafeprune.errors import InputError, first_line
from prosafeprune.evaluation.earlier_pruning import MEASURED_BEFORE
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.lineage import EVIDENCE_FILE
from prosafeprune.evaluation.prompts_record import calibration_record, prompts_record
from prosafeprune.evaluation.sets import USERS_SETS
from prosafeprune.files.staging import MANIFEST
from prosafeprune.files.text_file import read_json_object
from prosafeprune.files.user_path import user_path
from prosafeprune.jobs.adapter_input import open_adapter
from prosafeprune.jobs.apply import recipe_of
from prosafeprune.jobs.apply_fit import recipe_of_fit
from prosafeprune.jobs.calibrated_plan import known_plan
from prosafeprune.jobs.fit_input import open_fit
from prosafeprune.jobs.safety_gate import SafetyFloorError, require_safe_record
from prosafeprune.jobs.written_weights import require_recorded_weights
from prosafeprune.model.adapters import CONFIG as ADAPTER_CONFIG
from prosafeprune.model.loading import load_tokenizer
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import hub_is_reachable, is_hub_id
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.report.edit_record import shareable, template_hash
from prosafeprune.report.page import REPORT_FILE
from prosafeprune.report.record import RECORD_FILE, Record, read_record
from prosafeprune.report.record_consistency import is_consistent
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.prepare import prepare_run
from prosafeprune.text import without_folder

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}")
ANSWER_FILES = (EVIDENCE_FILE, REPORT_FILE)
"""They hold the prompts that the model was measured on."""
NOT_FOR_ALL = (*USERS_SETS, MEASURED_BEFORE)
"""Name prefixes of sets that are, or may hold, the user's prompts."""
COMMIT = "Upload a model made by prosafeprune"
STALE = ("*.safetensors", "*.safetensors.index.json", ADAPTER_CONFIG)
"""Removed from the repository if this model does not have them: shards of an earlier upload, and the file that would
make a checkpoint load as the adapter it once was."""


@dataclass(frozen=True)
class PushTarget:
    """A repository of the hub. Private unless ``public``."""

    repository: str
    public: bool = False

    def __post_init__(self) -> None:
        if REPOSITORY.fullmatch(self.repository) is None:
            raise InputError(f"--push {self.repository!r}: is not the name of a repository. Give ORG/NAME.")


def push_target(
    asked: Recipe | ApplyRequest, output: Path | None, push: str | None, public: bool = False
) -> PushTarget | None:
    """Return the target of ``--push``, checked before the long work; None without ``--push``.

    Args:
        push: ``ORG/NAME``.
        public: whether everybody may read it.

    Raises:
        InputError: there is no output or token, the hub is unreachable or refuses the token, the repository holds
            something else, nothing is measured, the safety floor is off, or an adapter would name a folder of this
            machine.
    """
    if push is None:
        if public:
            raise InputError("--public: nothing is uploaded. Give --push ORG/NAME as well.")
        return None
    target = PushTarget(push, public)
    if output is None:
        raise InputError("--push: the model is uploaded from its folder. Give --output as well.")
    if isinstance(asked, Recipe) and asked.is_draft | asked.unmeasured:
        raise InputError("--push: only a model that was measured in full is uploaded. Leave it out.")
    if FloorRule.of(asked).is_off:
        raise InputError("--push: the safety floor is switched off (--accept-unsafe). Such a model is not uploaded.")
    if asked.format == "adapter" and user_path(asked.model).exists():
        raise InputError(
            f"--push: the adapter would name {asked.model}, a path of this machine, as its base model. Give the base "
            "model by its hub id."
        )
    _check_repository(_api(), target)
    return target


def existing_output(
    output: Path,
    asked: Recipe | ApplyRequest,
    adapter: str | None = None,
    *,
    search: Path | None = None,
    choose: int | None = None,
    is_served: bool = False,
) -> Record | None:
    """Return the record in ``output`` if an earlier run of the same request wrote it, so that only its upload is left.

    None where there is no such folder; another one is refused when it is to be written.

    Args:
        adapter: what ``apply`` makes the model from.
        search: folder of the search that ``prune`` takes its plan from; None: that in the cache.
        choose: number of the plan of that search; None: the one it selected.
        is_served: whether a server measures what ``prune`` writes.

    Raises:
        InputError: something in the request, or the search that is named, cannot be used.
        NoPlanError: the search selected no plan, and none is chosen.
    """
    try:
        record = read_record(output)
    except InputError:  # none, an unmeasured one, or one of another version
        return None
    if isinstance(asked, Recipe):
        may_be = asked.earlier is not None or record.recipe == shareable(asked)  # --from takes settings over
        if asked.load is not None and (record.on_copy is not None) is not is_served:
            return None  # its copy was measured in place of what was written, or the other way round
        is_same = may_be and _is_of_same_inputs(record, asked, search, choose)
        return record if is_same else None
    assert adapter is not None
    fit = open_fit(adapter)
    if fit is not None:
        is_same = fit.is_of(record, asked) and _is_measured_as(record, shareable(recipe_of_fit(fit, asked)))
        return record if is_same else None
    own = open_adapter(adapter)
    written = (record.recipe.format, record.recipe.model, record.model.sha256, record.plan, record.submodules)
    wanted = own.plan_at(asked.strength)
    same = ("checkpoint", without_folder(asked.model), own.record.model.sha256, wanted, own.record.submodules)
    return record if written == same and _is_measured_as(record, recipe_of(own, asked)) else None


def _is_measured_as(record: Record, recipe: Recipe) -> bool:
    """Return whether a record has this recipe: the same safety floor, judge and prompts to measure on, by name.

    Passwords of endpoints, which are not recorded, do not count.
    """
    return record.recipe.model_dump(mode="json") == recipe.model_dump(mode="json")


def _is_of_same_inputs(record: Record, asked: Recipe, search: Path | None, choose: int | None) -> bool:
    """Return whether model, prompts and plan that a command names are still those of the record.

    The recipe in a record has names alone, and other files may have the same ones. It does not say which plan of a
    search was chosen.
    """
    prepared = prepare_run(asked, None, overwrite=False, reporter=SILENT)
    if asked.layers is None:
        plan = known_plan(prepared, record.judge, search, choose).plan
        if plan is not None and plan != record.plan:  # None: that search is no longer there
            return False
    source = prepared.source
    if source.path.is_dir():  # a GGUF's hash covers its template
        tokenizer = load_tokenizer(source.path, source.name, trust_remote_code=asked.trust_remote_code)
        if record.model.chat_template_sha256 != template_hash(tokenizer):
            return False
    return (
        record.recipe == shareable(prepared.recipe)
        and record.model.has_tokenizer_of(source.path)
        and record.model.sha256 == model_hash(source.path)
        and record.calibration == calibration_record(prepared.calibration)
        and record.evaluation == {test_set.name: prompts_record(test_set.prompts) for test_set in prepared.evaluation}
    )


def upload(folder: Path, target: PushTarget, reporter: Reporter) -> str:
    """Upload a model folder and return its address. Files that are there already are not sent again.

    Raises:
        SafetyFloorError: its record does not keep the safety floor.
        InputError: the upload fails, and what was sent is kept on the hub; or it is an adapter of a local base model,
            or its weights are not those that were measured.
    """
    record = read_record(folder)
    if not is_consistent(record):
        raise InputError(f"{folder / RECORD_FILE}: its counts contradict each other. Make the model again.")
    require_safe_record(record)
    if FloorRule.of(record.recipe).is_off:
        raise SafetyFloorError("--push: the model was written without a safety floor, so it is not uploaded.")
    if record.adapter_sha256 is not None:
        _require_base_on_hub(folder)
    require_recorded_weights(folder, record, reporter)
    api = _api()
    left_out, stale = [MANIFEST], [*STALE]
    if target.public and any(name.startswith(NOT_FOR_ALL) for name in record.evaluation):
        left_out += ANSWER_FILES
        stale += ANSWER_FILES
        reporter.note(
            f"{' and '.join(ANSWER_FILES)} hold your own prompts: they are not uploaded to a public repository."
        )
    call = f"prosafeprune.push({str(folder)!r}, {target.repository!r}{', public=True' if target.public else ''})"
    with _one_line(
        f"The model is in {folder}. To resume the upload, run the same command again, or call {call} in Python."
    ):
        # Again: hours have passed since the check before the long work.
        _warn_of_shown([file for file in _check_repository(api, target) if file in left_out], target, reporter)
        made = api.create_repo(target.repository, private=not target.public, exist_ok=True)
        send = partial(api.upload_folder, repo_id=target.repository, folder_path=folder, commit_message=COMMIT)
        with reporter.stage(f"Uploading to {target.repository}", 1) as advance:
            send(allow_patterns=[RECORD_FILE])  # first: it marks the repository as ours if the rest is interrupted
            send(ignore_patterns=left_out, delete_patterns=stale)
            advance(1)
    return str(made)


def _warn_of_shown(files: Sequence[str], target: PushTarget, reporter: Reporter) -> None:
    """Warn of files with the user's prompts that were uploaded while a repository was private."""
    if files:
        reporter.warning(
            f"{target.repository}: holds {' and '.join(files)} of an earlier upload, with your own prompts. They are "
            "removed now, but its history keeps them: delete the repository on the hub and upload again if nobody may "
            "read them."
        )


def _require_base_on_hub(adapter: Path) -> None:
    """Raise InputError when an adapter names a path of this machine as its base model, which is nobody else's."""
    base = read_json_object(adapter / ADAPTER_CONFIG, "adapter config").get("base_model_name_or_path")
    if not isinstance(base, str) or not is_hub_id(base):
        raise InputError(
            f"{adapter}: names {base}, a path of this machine, as its base model. Make the adapter again, with the "
            "base model by its hub id."
        )


def _api() -> HfApi:
    from huggingface_hub import HfApi, constants

    token = next((os.environ[name] for name in TOKENS if os.environ.get(name)), None)
    if token is None:
        raise InputError(f"--push: there is no token. Set {TOKENS[0]} to one that may write.")
    if constants.HF_HUB_OFFLINE or not hub_is_reachable():
        raise InputError("--push: the hub is unreachable. Check the network and HF_HUB_OFFLINE.")
    return HfApi(token=token)


def _check_repository(api: HfApi, target: PushTarget) -> list[str]:
    """Return the repository's files, none if it is new.

    Raises InputError when the token is refused, or the repository cannot take the model.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    name = target.repository
    with _one_line("Check the token and its rights."):
        api.whoami()
        try:
            there: Any = api.model_info(name)
        except RepositoryNotFoundError:
            return []
    if not target.public and not there.private:
        raise InputError(f"--push {name}: the repository is public. Choose another, or give --public.")
    if target.public and there.private:
        raise InputError(f"--push {name}: the repository is private. Make it public on the hub, or leave out --public.")
    files = [file.rfilename for file in there.siblings or []]
    if foreign := _foreign(files):
        raise InputError(f"--push {name}: holds {foreign[0]}, which prosafeprune did not upload. Choose another name.")
    return files


def _foreign(files: Sequence[str]) -> list[str]:
    """Return the files of a repository that holds another model; one with our record is of an earlier upload."""
    return [] if RECORD_FILE in files else [file for file in files if file not in (".gitattributes", "README.md")]


@contextmanager
def _one_line(remedy: str) -> Iterator[None]:
    """Turn any error of the hub's client into one line."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except InputError:
        raise
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else None
        reason = {401: "the token is not valid", 403: "the token may not write there"}.get(code or 0, first_line(error))
        raise InputError(f"--push: {reason} ({code}). {remedy}") from error
    except Exception as error:  # the client lets errors of several libraries through
        raise InputError(f"--push: {first_line(error)}. {remedy}") from error
