"""What ``evaluate`` and ``compare`` would ask, and how long the answers take at most, without loading the model."""

from collections.abc import Sequence

from prosafeprune.baselines.evaluated_method import unfitted_method
from prosafeprune.baselines.registry import find_method
from prosafeprune.evaluation.sets import EvaluationSet, SetChoice, choose_sets, sets_in_modes
from prosafeprune.jobs.compare_methods import given_methods
from prosafeprune.jobs.outlook import speed_on
from prosafeprune.model.adapters import running_without_weights
from prosafeprune.progress import Reporter
from prosafeprune.report.grid import Grid
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.setup.prompt_sets import read_prompts_of
from prosafeprune.setup.workload import answers_stage
from prosafeprune.text import duration

EVALUATED = "Not included: general ability, the divergence from --base, a judge model."
COMPARED = (
    "Not included: general ability, fitting the methods, a search for the plan, the likelihoods of answers, a judge "
    "model."
)


def evaluation_outlook(request: EvaluateRequest, reporter: Reporter) -> list[Grid]:
    """Return the sets of an evaluation and the time of its answers, as tables. Raises InputError as the run would."""
    if request.fitted is not None:
        find_method(request.method)
    elif request.method != "default":
        unfitted_method(request)
    sets = sets_in_modes(choose_sets(SetChoice.of(request, request.seed)), request.thinking)
    return _outlook(request, sets, 1, request.repeats, EVALUATED, reporter)


def comparison_outlook(request: CompareRequest, reporter: Reporter) -> list[Grid]:
    """Return the sets of a comparison and the time of its answers, as tables. Raises InputError as the run would."""
    given_methods(request.model_copy(update={"pruned": None}), "")  # a checkpoint is compared with the model's weights
    sets = read_prompts_of(request, reporter).measured
    return _outlook(request, sets, len(request.methods), 1, COMPARED, reporter)


def _outlook(
    request: EvaluateRequest | CompareRequest,
    sets: Sequence[EvaluationSet],
    methods: int,
    repeats: int,
    note: str,
    reporter: Reporter,
) -> list[Grid]:
    rows = [[test_set.title, test_set.prompt_class.in_words, str(len(test_set.prompts))] for test_set in sets]
    answers = methods * repeats * sum(len(test_set.prompts) for test_set in sets)
    what = f"{answers} answers of at most {request.max_new_tokens} tokens, judged by {request.judge}"
    facts = [["model", request.model or "the server's"], ["answers", what]]
    if isinstance(request, CompareRequest):
        facts.insert(1, ["methods", ", ".join(request.methods)])
    if getattr(request, "endpoint", None) is None:
        stage = answers_stage([test_set.prompts for test_set in sets], request.max_new_tokens)
        with running_without_weights(
            request.model, request.revision, trust_remote_code=request.trust_remote_code, reporter=reporter
        ) as source:
            seconds = methods * repeats * speed_on(source, request).seconds(stage)
        facts.append(["time of the answers", f"at most about {duration(seconds)} on this machine"])
    return [
        Grid("Nothing is loaded or written", ["", ""], facts, [f"Answers of earlier runs are not given again. {note}"]),
        Grid("Prompts to measure on", ["set", "class", "prompts"], rows),
    ]
