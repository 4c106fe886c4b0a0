"""``push``, ``judge``, ``doctor`` and the functions of ``prosafeprune prompts``, for :mod:`prosafeprune.api`."""

from pathlib import Path
from typing import Unpack

from prosafeprune.jobs.check_prompts import CheckResult, run_check
from prosafeprune.jobs.doctor import Diagnosis, run_doctor
from prosafeprune.jobs.judge import JudgedFile, judge_file
from prosafeprune.jobs.mine_prompts import MineResult, run_mine
from prosafeprune.jobs.push import PushTarget, upload
from prosafeprune.jobs.rate_prompts import RatedPrompts, run_rate
from prosafeprune.jobs.split_prompts import SplitPrompts, run_split
from prosafeprune.judges.answers_file import AnswerFields
from prosafeprune.requests import typed_settings
from prosafeprune.requests.call_arguments import Paths, checked
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.requests.prompt_tools import CheckRequest, MineRequest, RateRequest, SplitRequest
from prosafeprune.terminal import TerminalReporter


@checked
def push(folder: str | Path, repository: str, *, public: bool = False, progress: bool = True) -> str:
    """Upload a model that :func:`prosafeprune.prune` or ``apply`` wrote to the hub, with card, report and record.

    The token comes from the environment, ``HF_TOKEN``. An interrupted upload resumes when it is called again.

    Args:
        folder: the written folder.
        repository: ``ORG/NAME``.
        public: whether everybody may read it.
        progress: show progress on stderr.

    Returns:
        The repository's address.

    Raises:
        InputError: there is no token, the hub is unreachable, the repository cannot take the model, or its weights are
            not those of its record.
        SafetyFloorError: the folder's record does not keep its safety floor.
    """
    with TerminalReporter(quiet=not progress) as reporter:
        return upload(Path(folder), PushTarget(repository, public), reporter)


@checked
def doctor(*, progress: bool = True) -> Diagnosis:
    """Return versions, devices with their speed, the largest model that fits, and what is missing.

    Args:
        progress: show progress on stderr.
    """
    with TerminalReporter(quiet=not progress) as reporter:
        return run_doctor(reporter)


@checked
def mine_prompts(
    logs: Paths,
    output: str | Path,
    *,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Unpack[typed_settings.MineSettings],
) -> MineResult:
    """Find refused requests in chat logs, as candidates that a person reviews.

    Args:
        logs: files, or folders of files: OpenAI messages, ShareGPT, prompts with answers, inspect_ai, vLLM.
        output: folder for ``candidates.jsonl`` and ``review.html``.
        overwrite: replace an earlier result in ``output``.
        progress: show progress on stderr.
        **settings: options of ``prosafeprune prompts mine``.

    Raises:
        InputError: a log, the output, the judge or a setting cannot be used, or no turn can be read.
    """
    request = validate_settings(MineRequest, settings)
    with TerminalReporter(quiet=not progress) as reporter:
        return run_mine(_paths(logs), request, Path(output), overwrite=overwrite, reporter=reporter)


@checked
def rate_prompts(
    file: str | Path,
    output: str | Path | None = None,
    *,
    model: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Unpack[typed_settings.RateSettings],
) -> RatedPrompts:
    """Rate how harmful it would be to fulfil each prompt, from 0 to 5, and keep the middle (B.1).

    Args:
        file: prompts: .jsonl, .json, .csv or .txt.
        output: ``.jsonl`` file to write, with the rows to keep, for calibration.
        model: its name at ``endpoint``, or, without one, the model whose own probe rates.
        overwrite: replace ``output``.
        progress: show progress on stderr.
        **settings: other options of ``prosafeprune prompts rate``, such as ``endpoint``.

    Raises:
        InputError: the file, the output, the model or a setting cannot be used, or no rating is to be kept.
    """
    request = validate_settings(RateRequest, {"model": None if model is None else str(model), **settings})
    written = Path(output) if output is not None else None
    with TerminalReporter(quiet=not progress) as reporter:
        return run_rate(Path(file), request, written, overwrite=overwrite, reporter=reporter)


@checked
def check_prompts(files: Paths, **settings: Unpack[typed_settings.CheckSettings]) -> CheckResult:
    """Return sizes, languages, near-duplicates within and across prompt files, benchmark prompts, conflicting reviews.

    Args:
        files: .jsonl, .json, .csv or .txt files.
        **settings: options of ``prosafeprune prompts check``.

    Raises:
        InputError: a file or a benchmark cannot be read.
    """
    return run_check(_paths(files), validate_settings(CheckRequest, settings))


@checked
def split_prompts(
    file: str | Path, output: str | Path, *, overwrite: bool = False, **settings: Unpack[typed_settings.SplitSettings]
) -> SplitPrompts:
    """Split a prompt file into calibration, validation and test, with near-duplicates in one split.

    Args:
        file: .jsonl, .json, .csv or .txt file.
        output: folder for ``calibration.jsonl``, ``validation.jsonl`` and ``test.jsonl``.
        overwrite: replace an earlier result in ``output``.
        **settings: options of ``prosafeprune prompts split``.

    Raises:
        InputError: the file, the output or a setting cannot be used, or all prompts are near-duplicates.
    """
    return run_split(Path(file), validate_settings(SplitRequest, settings), Path(output), overwrite=overwrite)


def _paths(given: Paths) -> list[Path]:
    return [Path(path) for path in ([given] if isinstance(given, str | Path) else given)]


@checked
def judge(
    answers: str | Path,
    output: str | Path | None = None,
    *,
    labels: str | None = None,
    prompt_field: str = "prompt",
    answer_field: str = "completion",
    overwrite: bool = False,
    progress: bool = True,
    **settings: Unpack[typed_settings.JudgeSettings],
) -> JudgedFile:
    """Judge answers from elsewhere: each gets one of the six classes of docs/judges.md.

    Args:
        answers: JSON lines or CSV file, with a prompt and an answer in each row.
        output: file to write, with the class and reason of each answer.
        labels: field of the file with human labels, for the agreement.
        prompt_field: field or column of the prompts.
        answer_field: field or column of the answers.
        overwrite: replace ``output``.
        progress: show progress on stderr.
        **settings: options of ``prosafeprune judge`` that select the judge; by default the built-in one.

    Raises:
        InputError: the answers, the labels, the output or the judge cannot be used.
    """
    asked, names = validate_settings(JudgeOptions, settings), AnswerFields(prompt_field, answer_field)
    with TerminalReporter(quiet=not progress) as reporter:
        return judge_file(
            Path(answers), asked, labels, Path(output) if output is not None else None, overwrite, reporter, names
        )
