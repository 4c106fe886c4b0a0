"""Adapter configs that would make PEFT search for ever or fill the memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosafeprune.errors import InputError
from prosafeprune.model import adapter_config
from prosafeprune.model.adapter_config import require_usable

MODULES = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(3)]
PARAMETERS = [f"{module}.weight" for module in MODULES]
SHAPES = [(4, 48), (48, 4)]
ENDLESS = "(([a-z._0-9]+)+)+!"


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj", "model.layers.0.self_attn.q_proj"]},
        {"target_modules": "all-linear"},
        {"target_modules": r"^(?!.*visual).*(?:q_proj|k_proj).*"},
        {"target_modules": None, "rank_pattern": {"layers.0.self_attn.q_proj": 48}, "modules_to_save": ["lm_head"]},
        {"target_parameters": ["q_proj.weight"]},
    ],
)
def test_usual_configs_are_used(config: dict[str, Any]) -> None:
    require_usable({"r": 4, "lora_alpha": 8, **config}, SHAPES, MODULES, PARAMETERS)


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ENDLESS},
        {"exclude_modules": ENDLESS},
        {"rank_pattern": {ENDLESS: 4}},
        {"alpha_pattern": {ENDLESS: 4}},
        {"modules_to_save": [ENDLESS]},
        {"layers_pattern": [ENDLESS]},
    ],
    ids=lambda config: next(iter(config)),
)
def test_a_pattern_without_end_is_one_line(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_config, "SECONDS", 0.5)
    with pytest.raises(InputError, match="takes too long"):
        require_usable({"r": 4, "lora_alpha": 8, **config}, SHAPES, MODULES, PARAMETERS)


def test_a_pattern_that_is_none_is_one_line() -> None:
    with pytest.raises(InputError, match="no regular expression"):
        require_usable({"r": 4, "lora_alpha": 8, "target_modules": "(((("}, SHAPES, MODULES, PARAMETERS)


@pytest.mark.parametrize(
    "config",
    [{"r": 10**9}, {"r": 0}, {"r": "4"}, {"r": None}, {"r": 4, "lora_alpha": 8, "rank_pattern": {"q_proj": 10**9}}],
)
def test_a_rank_that_its_weights_do_not_have_is_refused_before_memory_is_taken(config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="does not fit its weights"):
        require_usable(config, SHAPES, MODULES, PARAMETERS)


@pytest.mark.parametrize("alpha", [0, float("nan"), float("inf"), 1e308, -1e9, None, "8"])
def test_a_scale_that_is_none_is_refused_instead_of_measured_as_the_base(alpha: Any) -> None:
    with pytest.raises(InputError, match="is not a valid scale"):
        require_usable({"r": 4, "lora_alpha": alpha}, SHAPES, MODULES, PARAMETERS)
    with pytest.raises(InputError, match="is not a valid scale"):
        require_usable({"r": 4, "lora_alpha": 8, "alpha_pattern": {"q_proj": alpha}}, SHAPES, MODULES, PARAMETERS)


def test_an_svd_of_a_million_iterations_is_refused() -> None:
    require_usable({"r": 4, "lora_alpha": 8, "init_lora_weights": "pissa_niter_16"}, SHAPES, MODULES, PARAMETERS)
    with pytest.raises(InputError, match="niter_1000000 .* takes too long"):
        require_usable(
            {"r": 4, "lora_alpha": 8, "init_lora_weights": "pissa_niter_1000000"}, SHAPES, MODULES, PARAMETERS
        )


@pytest.mark.parametrize("target", [["experts.up_proj"], ["q_proj.weight", "proj.weight"], "q_proj", [7], {"a": 1}])
def test_a_target_parameter_that_matches_nothing_is_refused_instead_of_passed_over(target: Any) -> None:
    with pytest.raises(InputError, match="a target parameter in its .*, matches no parameter"):
        require_usable({"r": 4, "lora_alpha": 8, "target_parameters": target}, SHAPES, MODULES, PARAMETERS)


VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(alphabet="a.*", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="a.*", max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("r", "lora_alpha", "target_modules", "exclude_modules", "modules_to_save", "layers_pattern")
NAMES += ("rank_pattern", "alpha_pattern", "target_parameters")


@given(config=st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_any_config_is_used_or_is_one_line(config: dict[str, Any]) -> None:
    assert json.dumps(config)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(adapter_config, "_require_quick", lambda patterns, names: None)
        try:
            require_usable(config, SHAPES, MODULES, PARAMETERS)
        except InputError as error:
            assert "\n" not in str(error)
