"""``--push`` of the commands that write a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.recipe import Recipe


@contextmanager
def uploaded(
    asked: Recipe | ApplyRequest,
    output: Path | None,
    push: str | None,
    public: bool,
    *,
    anew: bool,
    adapter: str | None = None,
    search: Path | None = None,
    choose: int | None = None,
    is_served: bool = False,
) -> Iterator[bool]:
    """Check the target, give whether an earlier run wrote this model already, and upload it after the context.

    ``adapter`` is what ``apply`` makes the model from, ``search`` and ``choose`` name the plan of ``prune``, and
    ``is_served`` says whether a server measures what it writes. With ``anew`` an earlier run's model is not taken: it
    is to be replaced. Without ``push`` and ``public`` nothing is uploaded.

    Raises InputError when the target cannot be used, or the upload fails.
    """
    if push is None and not public:
        yield False
        return
    from prosafeprune.jobs.push import existing_output, push_target, upload
    from prosafeprune.terminal import TerminalReporter

    target = push_target(asked, output, push, public)
    assert target is not None and output is not None  # checked there
    found = None
    if not anew:
        found = existing_output(output, asked, adapter, search=search, choose=choose, is_served=is_served)
    is_written = found is not None
    with TerminalReporter() as reporter:
        if is_written:
            reporter.note(f"{output} is written already: only its upload is left.")
        yield is_written
        reporter.note(f"Uploaded: {upload(output, target, reporter)}")
