"""Fixtures of the tests of jobs."""

from helpers.analysis_fixtures import answered, coarse_figures, no_figures, no_page_figures, odd_judge, questions
from helpers.evaluation_runs import evaluate, files

__all__ = ["answered", "coarse_figures", "no_figures", "no_page_figures", "odd_judge", "questions"]
__all__ += ["evaluate", "files"]
