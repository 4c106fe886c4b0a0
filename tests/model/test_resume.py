"""Resumed passes, against whole passes of the edited model, one text at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.architectures import ARCHITECTURES
from helpers.resumed_models import PROMPTS, resumed, texts_of, tiny, whole_pass
from helpers.tiny_models import CONFIGS
from torch import nn

from prosafeprune.errors import InputError
from prosafeprune.model import resume, state_cache, storage
from prosafeprune.model.anatomy import find_anatomy


def disturb(model: Any, layers: range) -> None:
    torch.manual_seed(3)
    with torch.no_grad():
        for layer in layers:
            for parameter in find_anatomy(model).layers[layer].parameters():
                if parameter.ndim > 1:
                    parameter.add_(torch.randn_like(parameter) * 0.05)


STARTS_OF_ALL = (0, 1, 2)
WHOLE = {"gemma4_shared"}
"""Architectures whose layers read what those below them leave beside the hidden states: run from the first layer."""
CASES = [(name, size, layer) for name in [*CONFIGS, "mixtral", "qwen2_moe"] for size in (1, 5) for layer in (1, 2)]
CASES += [(name, 5, 1) for name in ARCHITECTURES if (name, 5, 1) not in CASES]


@pytest.mark.long
@pytest.mark.parametrize(("architecture", "size", "first_layer"), CASES)
def test_resumed_passes_equal_whole_passes_of_the_edited_model(architecture: str, size: int, first_layer: int) -> None:
    loaded = tiny(architecture)
    passes = resumed(loaded, [1, 2], size)
    assert passes.starts == (STARTS_OF_ALL if architecture not in WHOLE else (0,))
    before = {row: output.hidden.clone() for row, output in passes.run(first_layer)}
    disturb(loaded.model, range(first_layer, 3))
    outputs = dict(passes.run(first_layer, logits=True))
    assert sorted(outputs) == list(range(len(PROMPTS)))
    for row, text in enumerate(passes.texts):
        hidden, logits = whole_pass(loaded, text)
        torch.testing.assert_close(outputs[row].hidden, hidden, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(outputs[row].logits, logits, rtol=1e-4, atol=1e-4)
        assert (before[row] - hidden).abs().max() > 1e-2  # the edit shows


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_plan_that_starts_between_kept_layers_begins_at_the_one_before(architecture: str) -> None:
    loaded = tiny(architecture)
    passes = resumed(loaded, [1])
    disturb(loaded.model, range(2, 3))
    ran: list[int] = []
    for number, layer in enumerate(passes.anatomy.layers):
        first = next(module for module in layer.modules() if isinstance(module, nn.Linear))
        first.register_forward_hook(lambda *_, number=number: ran.append(number))
    outputs = dict(passes.run(2))
    assert set(ran) == {1, 2}
    for row, text in enumerate(passes.texts):
        torch.testing.assert_close(outputs[row].hidden, whole_pass(loaded, text)[0], rtol=1e-4, atol=1e-4)


def test_below_the_earliest_kept_layer_the_whole_model_runs() -> None:
    loaded = tiny("qwen2")
    passes = resumed(loaded, [2])
    disturb(loaded.model, range(0, 3))
    for row, output in passes.run(0):
        torch.testing.assert_close(output.hidden, whole_pass(loaded, passes.texts[row])[0], rtol=1e-4, atol=1e-4)
        assert output.logits is None


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "falcon"])
def test_a_pass_may_end_at_a_layer(architecture: str) -> None:
    loaded = tiny(architecture)
    passes = resumed(loaded, [1])
    disturb(loaded.model, range(1, 3))
    with torch.no_grad():
        ran: list[int] = []
        passes.anatomy.layers[2].register_forward_pre_hook(lambda *_: ran.append(2))
        outputs = dict(passes.run(1, last_layer=1))
        assert not ran
        for row, text in enumerate(passes.texts):
            states = loaded.model(input_ids=torch.tensor([text.ids]), output_hidden_states=True).hidden_states
            assert len(outputs[row].hidden) == len(text.answer_ids) + 1
            last = states[2][0, -len(text.answer_ids) - 1 :]  # the embeddings come first
            torch.testing.assert_close(outputs[row].hidden, last, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "falcon"])
def test_the_shared_prefix_is_run_once(architecture: str) -> None:
    loaded = tiny(architecture)
    passes = resumed(loaded, [1], size=1)
    assert len(passes.prefix) > 5
    widths: list[int] = []
    top = passes.anatomy.layers[2]
    top.register_forward_pre_hook(lambda module, given: widths.append(given[0].shape[1]))
    list(passes.run(1))
    assert widths[0] == len(passes.prefix)
    assert sum(widths) == len(passes.prefix) + sum(len(text.ids) - len(passes.prefix) for text in passes.texts)


def test_without_a_shared_prefix_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "shared_prefix_length", lambda *_: 0)
    for architecture in ("gemma3", "gpt2"):
        loaded = tiny(architecture)
        passes = resumed(loaded, [2])
        assert len(passes.prefix) == 0
        disturb(loaded.model, range(2, 3))
        for row, output in passes.run(2):
            torch.testing.assert_close(output.hidden, whole_pass(loaded, passes.texts[row])[0], rtol=1e-4, atol=1e-4)


def test_a_narrow_window_is_run_without_a_shared_prefix() -> None:
    loaded = tiny("gemma3")
    assert loaded.model.config.sliding_window < len(texts_of(loaded)[1].ids)
    assert not resumed(loaded, [1]).prefix
    wide = tiny("gemma3", sliding_window=200)
    assert len(resumed(wide, [1]).prefix) > 5


def test_the_model_is_left_as_found() -> None:
    loaded = tiny("llama")
    state = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    wrapped = loaded.model.model.layers[0].forward
    loaded.model.model.layers[0].forward = wrapped  # as libraries do that move weights about
    passes = resumed(loaded, [1, 2])
    list(passes.run(2, logits=True))
    passes.anatomy.layers[2].register_forward_pre_hook(_fail)
    with pytest.raises(ValueError, match="on purpose"):
        list(passes.run(2))
    for module in loaded.model.modules():
        assert not module._forward_hooks
    assert len(passes.anatomy.layers[2]._forward_pre_hooks) == 1  # the one above
    assert loaded.model.model.layers[0].__dict__["forward"] is wrapped
    assert "forward" not in loaded.model.model.layers[1].__dict__
    assert all(torch.equal(value, state[name]) for name, value in loaded.model.state_dict().items())


def _fail(*_: Any) -> None:
    raise ValueError("on purpose")


Shared = dict[str, torch.Tensor]


class _Sideways(nn.Module):
    """A layer that hands something to the next one beside the hidden states."""

    def __init__(self, layer: nn.Module, shared: Shared, taken: Callable[[Shared], Any] | None) -> None:
        super().__init__()
        self.layer, self.shared, self.taken = layer, shared, taken

    def forward(self, hidden_states: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if self.taken is not None:
            hidden_states = hidden_states + self.taken(self.shared)
        output: torch.Tensor = self.layer(hidden_states, *arguments, **options)
        if self.taken is None:
            self.shared["output"] = output
        return output


@pytest.mark.parametrize(
    "taken",
    [lambda shared: shared["output"].mean(), lambda shared: shared.pop("output"), lambda shared: shared["output"]],
    ids=["of an earlier pass", "missing", "of another shape"],
)
@pytest.mark.parametrize("has_prefix", [True, False])
def test_an_architecture_that_cannot_be_resumed_is_run_whole(
    taken: Callable[[Shared], Any], has_prefix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_prefix:
        monkeypatch.setattr(resume, "shared_prefix_length", lambda *_: 0)
    loaded = tiny("llama")
    layers, shared = loaded.model.model.layers, {}
    for number in range(3):
        layers[number] = _Sideways(layers[number], shared, taken if number == 2 else None)
    passes = resumed(loaded, [2], size=1)
    assert bool(passes.prefix) == has_prefix
    assert passes.starts == (0,)


def test_states_that_do_not_fit_in_memory_go_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "KEPT_IN_MEMORY", 0)
    for dtype in (torch.float32, torch.bfloat16):
        loaded = tiny("llama")
        loaded.model.to(dtype)
        passes = resumed(loaded, [1])
        kept = dict(passes.run(1))
        whole = dict(passes.run(0))
        for row in kept:
            torch.testing.assert_close(kept[row].hidden, whole[row].hidden)


def test_a_disk_without_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "KEPT_IN_MEMORY", 0)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 0}))
    with pytest.raises(InputError, match="GB are needed for hidden states"):
        resumed(tiny("llama"), [1])


def test_short_of_memory_fewer_layers_are_kept_the_earliest_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_cache, "MAX_VALUES", 2 * 1000 * 48)
    assert state_cache.affordable_layers([4, 5, 6, 7, 8, 9], 1000, 48) == (4, 7)
    assert state_cache.affordable_layers([4, 5, 6], 10, 48) == (4, 5, 6)
    assert state_cache.affordable_layers([4, 5, 6], 10**9, 48) == (4,)
    assert state_cache.affordable_layers([], 10, 48) == ()


def test_output_that_is_not_finite_is_told() -> None:
    loaded = tiny("llama")
    passes = resumed(loaded, [2])
    with torch.no_grad():
        loaded.model.model.norm.weight[0] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        list(passes.run(2))
