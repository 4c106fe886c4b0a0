"""How long a prompt and its answer may be: the positions of the model, and with LongRoPE those of its short factors."""

from types import SimpleNamespace
from typing import Any

import pytest

from prosafeprune.errors import InputError
from prosafeprune.model.prefix_cache import require_positions

LONG_ROPE = {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [4.0]}


@pytest.mark.parametrize(
    ("rope", "most"),
    [
        (None, 512),
        ({"rope_type": "linear", "factor": 4.0}, 512),
        ({**LONG_ROPE, "original_max_position_embeddings": 128}, 128),
        (LONG_ROPE, 256),
        ({**LONG_ROPE, "long_factor": [1.0]}, 512),  # the two are the same
    ],
)
def test_a_longer_text_is_refused(rope: dict[str, Any] | None, most: int) -> None:
    config = SimpleNamespace(max_position_embeddings=512, original_max_position_embeddings=256, rope_parameters=rope)
    require_positions(config, most)
    with pytest.raises(InputError, match=f"the model has {most} positions .*max_position_embeddings"):
        require_positions(config, most + 1)
