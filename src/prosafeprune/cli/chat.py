"""``prosafeprune chat``: talk to a model before and after pruning."""

from contextlib import suppress
from typing import Any

from prosafeprune.cli.options import BaseModelName, PrunedModel, SearchFolder, options_of
from prosafeprune.requests.chat import TerminalChatRequest
from prosafeprune.requests.parsing import validate_settings


@options_of(TerminalChatRequest, without=("model", "batch_size"))
def chat(
    settings: dict[str, Any], model: BaseModelName, pruned: PrunedModel = None, search: SearchFolder = None
) -> None:
    """Chat in the terminal with the base model, the pruned one at any strength, or both side by side.

    Type /help in the chat for its commands. Changing the strength is instant: the weights are held once, and the edit
    is added in the forward pass.
    """
    from prosafeprune.interactive.chat import ChatSession, TerminalScreen, run_chat
    from prosafeprune.jobs.served_model import opening_system, served_model
    from prosafeprune.model.chat_template import set_system_prompt
    from prosafeprune.terminal import TerminalReporter, error_line
    from prosafeprune.text import for_terminal

    with suppress(ImportError):
        import readline  # noqa: F401  gives input() a history and editing

    asked = validate_settings(TerminalChatRequest, {**settings, "model": model})
    options = asked.model_copy(update={"system": opening_system(search, asked.system)})
    with TerminalReporter() as reporter, served_model(options, pruned, search, reporter) as served:
        # /system replaces the system prompt, so the session keeps it, and not the tokenizer.
        set_system_prompt(served.engine.loaded.tokenizer, None)
        session = ChatSession(
            served, TerminalScreen(), asked.system, asked.max_new_tokens, asked.temperature, asked.seed
        )
        reporter.note("A conversation: earlier turns are kept until /reset. Type /help for commands, /quit to end.")
        run_chat(session, lambda prompt: input(for_terminal(prompt)), error_line)
