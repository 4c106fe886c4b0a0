"""The divergence of a model from its base model on benign prompts, as every command measures it."""

from prosafeprune.evaluation.divergence import (
    BaseAnswers,
    Divergence,
    decoded_base,
    divergence_from_base,
    divergence_of_decoding,
    record_base_answers,
)
from prosafeprune.generation import Generator, LocalGenerator
from prosafeprune.generation.local import following
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, PromptSet, bundled_prompts
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.setup.prompt_sets import BENIGN_PROMPTS


def benign_test_prompts(seed: int) -> PromptSet:
    """Return the bundled prompts that ``evaluate`` and ``compare`` ask."""
    return bundled_prompts(PromptClass.BENIGN, "test").sample(BENIGN_PROMPTS, seed)


def benign_base_answers(
    loaded: LoadedModel, benign: PromptSet, request: ModelOptions, reporter: Reporter
) -> BaseAnswers:
    """Return the base model's answers to benign prompts. Raises InputError as ``record_base_answers`` does."""
    with reporter.stage("Benign answers of the base model", len(benign)) as advance:
        return record_base_answers(loaded, benign.texts, BatchSize(request.batch_size, loaded.device), advance)


def benign_divergence(
    base: BaseAnswers, loaded: LoadedModel, request: ModelOptions, reporter: Reporter, title: str = "Benign answers"
) -> Divergence:
    """Return how far a model is from the base model. Raises InputError as ``divergence_from_base`` does."""
    with reporter.stage(title, len(base.prompts)) as advance:
        return divergence_from_base(base, loaded, BatchSize(request.batch_size, loaded.device), advance)


def decoded_benign_answers(
    base: BaseAnswers, loaded: LoadedModel, request: ModelOptions, reporter: Reporter
) -> BaseAnswers:
    """Return the answers with the distributions of decoding. Raises InputError as ``decoded_base`` does."""
    with reporter.stage("Benign answers of the base model, decoded", len(base.prompts)) as advance:
        return decoded_base(base, LocalGenerator(loaded, request.batch_size), advance)


def benign_divergence_of_decoding(
    base: BaseAnswers, generator: Generator, reporter: Reporter, title: str
) -> Divergence | None:
    """Return how far a method is from the base model; None where its generator gives no distributions.

    Raises:
        InputError: as ``divergence_of_decoding`` does.
    """
    follow = following(generator)
    if follow is None:
        return None
    with reporter.stage(title, len(base.prompts)) as advance:
        return divergence_of_decoding(base, follow, advance)
