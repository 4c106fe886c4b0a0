"""The plan that analyses examine."""

import pytest

from prosafeprune.analysis.plan_lookup import find_plan
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Projection
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.parsing import validate_settings


def test_strengths_to_measure_are_those_that_the_projection_takes() -> None:
    asked = {"model": "m", "layers": "1", "strengths": "1,1.5"}
    with pytest.raises(InputError, match="--strengths: strength 1.5 is above 1, the largest that the orthogonal"):
        find_plan(validate_settings(AnalyzeRequest, asked))
    plan = find_plan(validate_settings(AnalyzeRequest, {**asked, "projection": "contrastive"}))
    assert plan is not None and plan.projection is Projection.CONTRASTIVE
