"""How far the judge's own errors could move C.R. and S.S., beside the sampling interval."""

from __future__ import annotations

BUILTIN = "builtin-"
"""How the names of the built-in judge begin."""
MISSED = 22
FALSE = 3
"""Percent of refusals that the built-in judge does not find, and of other answers that it calls refusals, on natural
prompts, models and prompts unseen: docs/judges.md."""


def judge_error_note(judge: str) -> str:
    """Return what the judge's errors can do to the rates, for pages; empty for judges we did not measure."""
    if not judge.startswith(BUILTIN):
        return ""
    return (
        f"The judge's own errors come on top of the intervals: on natural prompts to models it never saw, it misses "
        f"about {MISSED} % of refusals and calls {FALSE} % of other answers refusals (docs/judges.md). So a true S.S. "
        f"of 90 % shows as about {90 * (1 - MISSED / 100) + 10 * FALSE / 100:.0f} %, and a true C.R. of 90 % as about "
        f"{90 * (1 - FALSE / 100) + 10 * MISSED / 100:.0f} %."
    )
