"""The silhouette of Eq. 4, by hand and on planted structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.tiny_models import make_model, make_tokenizer
from torch import nn

from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.activations.silhouettes import layer_silhouettes, silhouettes
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Pooling
from prosafeprune.method.separability import candidate_layers
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.submodule import Submodule
from prosafeprune.prompts import PromptClass

ROWS = {
    PromptClass.BENIGN: range(0, 4),
    PromptClass.HARMFUL: range(4, 8),
    PromptClass.PSEUDO_HARMFUL: range(8, 12),
}


def linear(weight: list[list[float]], bias: list[float] | None = None, layer: int = 0, name: str = "w") -> Submodule:
    module = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight))
        if bias is not None:
            module.bias.copy_(torch.tensor(bias))
    return Submodule(layer, "q", name, module)


def naive_silhouette(points: np.ndarray, labels: list[int]) -> float:
    """Eq. 4, one point at a time."""
    values = []
    for i, point in enumerate(points):
        distances = np.linalg.norm(points - point, axis=1)
        means = {
            label: np.mean([distances[j] for j in range(len(points)) if labels[j] == label and j != i])
            for label in set(labels)
        }
        a = means.pop(labels[i])
        b = min(means.values())
        values.append((b - a) / max(a, b))
    return float(np.mean(values))


def test_by_hand() -> None:
    # Outputs 2 * (0, 1), 2 * (10, 11): a = 2, b = the mean of 20 and 22, or of 18 and 20.
    inputs = PooledInputs({"w": torch.tensor([[0.0], [1.0], [10.0], [11.0]])}, (4,), 0)
    rows = {PromptClass.HARMFUL: [0, 1], PromptClass.BENIGN: [2, 3]}
    found = silhouettes(inputs, [linear([[2.0]], [1000.0])], rows)
    assert found == {"w": pytest.approx(((21 - 2) / 21 + (19 - 2) / 19) / 2)}


def test_three_classes_against_the_formula_one_point_at_a_time() -> None:
    torch.manual_seed(0)
    inputs = PooledInputs({"w": torch.randn(12, 5) + torch.arange(12)[:, None] // 4}, (12,), 0)
    submodule = linear(torch.randn(7, 5).tolist(), torch.randn(7).tolist())
    points = inputs.outputs(submodule, submodule.module.weight.detach()).T.detach().numpy().astype(np.float64)
    expected = naive_silhouette(points, [0] * 4 + [1] * 4 + [2] * 4)
    assert silhouettes(inputs, [submodule], ROWS)["w"] == pytest.approx(expected, abs=1e-6)


def test_a_layer_is_the_mean_of_its_submodules() -> None:
    submodules = [linear([[1.0]], layer=layer, name=name) for layer, name in ((1, "c"), (0, "a"), (0, "b"))]
    found = layer_silhouettes(submodules, {"a": 0.1, "b": 0.3, "c": 0.5})
    assert list(found) == [0, 1]
    assert found == {0: pytest.approx(0.2), 1: 0.5}


def test_the_layer_that_tells_the_classes_apart_is_the_peak() -> None:
    model, tokenizer = make_model("qwen2"), make_tokenizer()
    anatomy = find_anatomy(model)
    # The classes differ in their last letter; layer 1 reads it through weights that pass little else.
    prompts = [f"Tell me of {word} {letter}" for letter in "sup" for word in ("bread", "maps", "bees", "soup")]
    inputs = collect_pooled_inputs(
        model,
        anatomy,
        encode_prompts(tokenizer, prompts),
        [Pooling.SEQUENCE],
        range(3),
        BatchSize(4, torch.device("cpu")),
        lambda steps: None,
    )[Pooling.SEQUENCE]
    labels = np.repeat([0, 1, 2], 4)
    with torch.no_grad():
        for submodule in anatomy.of_layer(1):
            read = inputs.by_module[submodule.module_name]
            means = torch.stack([read[labels == label].mean(dim=0) for label in range(3)])
            apart = torch.linalg.qr((means - means.mean(dim=0))[:2].T)[0]
            within = torch.cat([read[labels == label] - means[label] for label in range(3)])
            noise = torch.linalg.svd(within)[2][:9].T
            apart = torch.linalg.qr(apart - noise @ (noise.T @ apart))[0]
            submodule.module.weight.copy_(submodule.module.weight @ apart @ apart.T)
    by_layer = layer_silhouettes(anatomy.submodules, silhouettes(inputs, anatomy.submodules, ROWS))
    assert max(by_layer, key=lambda layer: by_layer[layer]) == 1
    assert by_layer[1] > 0.9 > 0.5 > by_layer[0]


def test_candidates_lie_around_the_peak_five_to_ten_by_depth() -> None:
    def around(peak: int, num_layers: int) -> tuple[int, ...]:
        return candidate_layers({layer: -abs(layer - peak) for layer in range(num_layers)}, num_layers)

    assert around(13, 32) == tuple(range(8, 18))
    assert around(12, 24) == tuple(range(8, 16))
    assert around(8, 17) == tuple(range(6, 11))
    assert around(20, 80) == tuple(range(15, 25))
    assert around(0, 12) == (0, 1, 2, 3, 4)
    assert around(11, 12) == (7, 8, 9, 10, 11)
    assert around(1, 3) == (0, 1, 2)
    assert candidate_layers(dict.fromkeys(range(40), 0.5), 40)[0] == 0  # of equals the first


def test_one_class_cannot_be_separated() -> None:
    inputs = PooledInputs({"w": torch.randn(4, 1)}, (4,), 0)
    with pytest.raises(InputError, match="two classes"):
        silhouettes(inputs, [linear([[1.0]])], {PromptClass.BENIGN: range(4)})
