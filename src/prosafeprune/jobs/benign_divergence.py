"""The divergence of a model from its base model on the bundled benign prompts, for ``evaluate`` and ``compare``."""

from prosafeprune.evaluation.divergence import BaseAnswers, Divergence, divergence_from_base, record_base_answers
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.setup.prompt_sets import BENIGN_PROMPTS


def benign_base_answers(loaded: LoadedModel, request: ModelOptions, seed: int, reporter: Reporter) -> BaseAnswers:
    """Return the base model's answers to benign prompts. Raises InputError as ``record_base_answers`` does."""
    benign = bundled_prompts(PromptClass.BENIGN, "test").sample(BENIGN_PROMPTS, seed)
    with reporter.stage("Benign answers of the base model", len(benign)) as advance:
        return record_base_answers(loaded, benign.texts, BatchSize(request.batch_size, loaded.device), advance)


def benign_divergence(
    base: BaseAnswers, loaded: LoadedModel, request: ModelOptions, reporter: Reporter, title: str = "Benign answers"
) -> Divergence:
    """Return how far a model is from the base model. Raises InputError as ``divergence_from_base`` does."""
    with reporter.stage(title, len(base.prompts)) as advance:
        return divergence_from_base(base, loaded, BatchSize(request.batch_size, loaded.device), advance)
