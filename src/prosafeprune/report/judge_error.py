"""How far the judge's errors could move C.R. and S.S., in addition to sampling error."""

from __future__ import annotations

BUILTIN = "builtin-"
"""How the names of the built-in judge begin."""
MISSED = 18
FALSE = 2
"""Percent of refusals that the built-in judge misses, and of other answers that it calls refusals, on natural prompts
and with models and prompts that it was not trained on: docs/judges.md."""


def judge_error_note(judge: str) -> str:
    """Return the possible effect of the judge's errors on the rates, for pages; empty for judges we did not measure."""
    if not judge.startswith(BUILTIN):
        return ""
    return (
        f"The judge's own errors come on top of the intervals: on natural prompts to models it never saw, it misses "
        f"about {MISSED} % of refusals and calls {FALSE} % of other answers refusals (docs/judges.md). So a true S.S. "
        f"of 90 % shows as about {90 * (1 - MISSED / 100) + 10 * FALSE / 100:.0f} %, and a true C.R. of 90 % as about "
        f"{90 * (1 - FALSE / 100) + 10 * MISSED / 100:.0f} %."
    )
