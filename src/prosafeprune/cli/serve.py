"""``prosafeprune serve``: an OpenAI-compatible server of a base model and its pruned versions."""

from typing import Annotated, Any

import typer

from prosafeprune.cli.options import BaseModelName, Host, PrunedModel, SearchFolder, options_of
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.requests.parsing import validate_settings


@options_of(ModelOptions, without=("model", "batch_size"))
def serve(
    settings: dict[str, Any],
    model: BaseModelName,
    pruned: PrunedModel = None,
    search: SearchFolder = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 8000,
) -> None:
    """Serve the base model and its pruned versions through an OpenAI-compatible API; the model name sets the strength.

    Models: base, pruned, and pruned at any strength, such as pruned@0.6. For experiments: in production, serve the
    pruned checkpoint with vLLM.
    """
    from prosafeprune.interactive.web_server import listen, require_web_server, run_server, token_for, url_of

    require_web_server()
    token, asked = token_for(host), validate_settings(ModelOptions, {**settings, "model": model})
    with listen(host, port) as listening:
        from prosafeprune.interactive.openai_app import openai_app
        from prosafeprune.jobs.served_model import served_model
        from prosafeprune.terminal import TerminalReporter

        with TerminalReporter() as reporter, served_model(asked, pruned, search, reporter) as served:
            reporter.note(
                f"Models: {', '.join(['base', *served.edits, *(f'{name}@STRENGTH' for name in served.edits)])}."
            )
            reporter.note(f"Listening on {url_of(listening)}/v1. Press Ctrl-C to stop.")
            run_server(openai_app(served), listening, token)
