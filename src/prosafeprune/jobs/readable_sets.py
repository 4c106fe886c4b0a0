"""Which sets of prompts a model can read: what is measured beside the test prompts is left out where it cannot."""

from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import require_positions
from prosafeprune.progress import Reporter


def is_readable(
    one: EvaluationSet, loaded: LoadedModel, max_new_tokens: int, reporter: Reporter, system: str | None = None
) -> bool:
    """Return whether a model's chat template and positions take all prompts of a set; say why if they do not.

    Args:
        system: a further system prompt before each.
    """
    config = loaded.model.config.get_text_config(decoder=True)
    try:
        longest = max(len(encoded.ids) for encoded in encode_prompts(loaded.tokenizer, one.prompts.texts, system))
        require_positions(config, longest + max_new_tokens, max_new_tokens)
    except InputError as error:
        behind = " behind a system prompt" if system is not None else ""
        reporter.note(f"Not measured{behind}: {one.title}. {error}")
        return False
    return True
