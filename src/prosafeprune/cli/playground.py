"""``prosafeprune playground``: a page that shows a model before and after pruning, with the strength as a slider."""

from contextlib import closing
from typing import Annotated, Any

import typer

from prosafeprune.cli.options import BaseModelName, Host, PrunedModel, SearchFolder, options_of
from prosafeprune.requests.chat import PlaygroundRequest
from prosafeprune.requests.parsing import validate_settings


@options_of(PlaygroundRequest, without=("model", "batch_size"))
def playground(
    settings: dict[str, Any],
    model: BaseModelName,
    pruned: PrunedModel = None,
    search: SearchFolder = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 7860,
) -> None:
    """Open a page in the browser: one prompt, both answers side by side, the strength as a slider.

    It judges the answers, runs your own prompts, and saves a strength as a model if that keeps the safety floor.
    """
    from prosafeprune.interactive.web_server import listen, page_token, require_web_server, run_server, url_of

    require_web_server()
    token, asked = page_token(host), validate_settings(PlaygroundRequest, {**settings, "model": model})
    with listen(host, port) as listening:
        from prosafeprune.interactive.playground_app import PAGE, Playground
        from prosafeprune.jobs.refusal_probe import watch_refusals
        from prosafeprune.jobs.served_model import served_model
        from prosafeprune.judges.registry import make_judge
        from prosafeprune.terminal import TerminalReporter

        with TerminalReporter() as reporter:
            judge = make_judge(asked, reporter)
            with served_model(asked, pruned, search, reporter) as served:
                page = Playground(served, asked, judge)
                watch_refusals(served, reporter)
                reporter.note(f"Open {url_of(listening)}/#token={token} in a browser. Press Ctrl-C to stop.")
                with closing(page.saver):
                    run_server(page.app(), listening, token, public=PAGE)
