"""Pooled activations against hooks on the outputs, one prompt at a time, without any sharing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from helpers.architectures import LLAMA
from helpers.pooled_inputs import CPU, PROMPTS, collect, outputs
from helpers.tiny_models import CONFIGS, REQUIRED, make_model, make_tokenizer

from prosafeprune.activations.pooled_inputs import collect_pooled_inputs, token_weights
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize, is_out_of_memory, pad_batch
from prosafeprune.model.chat_template import EncodedPrompt, encode_prompts
from prosafeprune.model.prefix_cache import shared_prefix_length
from prosafeprune.progress import ignore


def naive_outputs(model: Any, prompts: list[EncodedPrompt], pooling: Pooling) -> dict[str, torch.Tensor]:
    """Hook every matrix's output, run each prompt alone and whole, and average the tokens of the pooling."""
    anatomy = find_anatomy(model)
    caught: dict[str, torch.Tensor] = {}
    modules = {s.module_name: s.module for s in anatomy.submodules}

    def hook(name: str) -> Any:
        return lambda module, inputs, output: caught.__setitem__(name, output.detach().clone())

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    pooled: dict[str, list[torch.Tensor]] = {}
    for prompt in prompts:
        model(input_ids=torch.tensor([prompt.ids]))
        span = {
            Pooling.SEQUENCE: slice(0, len(prompt.ids)),
            Pooling.TAIL: slice(prompt.user_start, len(prompt.ids)),
            Pooling.USER: slice(prompt.user_start, prompt.user_end),
            Pooling.LAST: slice(len(prompt.ids) - 1, len(prompt.ids)),
        }[pooling]
        for submodule in anatomy.submodules:
            output = caught[submodule.module_name][0][span].mean(dim=0)
            kept = output if submodule.rows is None else output[submodule.rows]
            pooled.setdefault(submodule.name, []).append(kept)
    for handle in handles:
        handle.remove()
    return {name: torch.stack(rows, dim=1) for name, rows in pooled.items()}


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("pooling", Pooling)
def test_pooled_outputs_equal_naive_hooks(architecture: str, pooling: Pooling) -> None:
    model = make_model(architecture)
    prompts = encode_prompts(make_tokenizer(), PROMPTS)
    with torch.no_grad():
        expected = naive_outputs(model, prompts, pooling)
        inputs = collect(model, prompts, pooling)
        found = outputs(model, inputs)
    assert inputs.prefix_length > 10
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=2e-5, rtol=2e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_layers_that_read_an_image_are_passed_over() -> None:
    """Llama 3.2 Vision skips its cross-attention without an image, and takes any keys cached there for one."""
    text = {**LLAMA, "cross_attention_layers": [1], "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    model = transformers.MllamaForCausalLM(transformers.MllamaConfig(text_config=text).text_config).eval()
    anatomy = find_anatomy(model)
    prompts = encode_prompts(make_tokenizer(), PROMPTS)
    tail = Pooling.TAIL
    inputs = collect_pooled_inputs(model, anatomy, prompts, [tail], (0, 2), BatchSize(4, CPU), ignore)[tail]
    assert inputs.prefix_length > 10
    seen: dict[str, torch.Tensor] = {}
    modules = {submodule.module_name: submodule.module for submodule in anatomy.of_layer(2)}
    for name, module in modules.items():
        module.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0][0]}))
    for row, prompt in enumerate(prompts):
        with torch.no_grad():
            model(input_ids=torch.tensor([prompt.ids]), use_cache=False)
        for name in modules:
            expected = seen[name][prompt.user_start :].mean(dim=0)
            torch.testing.assert_close(inputs.by_module[name][row], expected, atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("architecture", REQUIRED)
def test_batch_of_one_equals_batch_of_many(architecture: str) -> None:
    model = make_model(architecture)
    prompts = encode_prompts(make_tokenizer(), PROMPTS)
    one, many = (collect(model, prompts, Pooling.TAIL, size) for size in (1, 4))
    assert (one.batch_sizes, many.batch_sizes) == ((1, 1, 1, 1), (4,))
    for name, matrix in one.by_module.items():
        torch.testing.assert_close(many.by_module[name], matrix, atol=1e-5, rtol=1e-4)


def test_without_a_shared_prefix_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("gemma3")
    prompts = encode_prompts(make_tokenizer(), PROMPTS)
    shared = collect(model, prompts, Pooling.SEQUENCE)
    monkeypatch.setattr("prosafeprune.activations.pooled_inputs.shared_prefix_length", lambda *_: 0)
    whole = collect(model, prompts, Pooling.SEQUENCE)
    assert (shared.prefix_length > 0, whole.prefix_length) == (True, 0)
    for name, matrix in whole.by_module.items():
        torch.testing.assert_close(shared.by_module[name], matrix, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", REQUIRED)
def test_left_padding_equals_right_padding_on_real_tokens(architecture: str) -> None:
    model = make_model(architecture)
    ids = [list(prompt.ids) for prompt in encode_prompts(make_tokenizer(), ["Hi", "How do?"])]
    logits = {}
    for side in ("left", "right"):
        batch = pad_batch(ids, 0, side, CPU)  # type: ignore[arg-type]
        with torch.no_grad():
            output = model(input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions).logits
        logits[side] = torch.cat([output[row][batch.mask[row].bool()] for row in range(len(ids))])
    torch.testing.assert_close(logits["left"], logits["right"], atol=1e-4, rtol=1e-3)


def test_matrices_that_read_the_same_tensor_share_one_pooled_input() -> None:
    model = make_model("llama")
    inputs = collect(model, encode_prompts(make_tokenizer(), PROMPTS), Pooling.TAIL)
    of_layer = {name: matrix.data_ptr() for name, matrix in inputs.by_module.items() if ".layers.1." in name}
    assert len(of_layer) == 7
    assert len(set(of_layer.values())) == 4


def test_nothing_above_the_last_layer_asked_for_is_run() -> None:
    model = make_model("llama")
    anatomy = find_anatomy(model)
    anatomy.layers[2].register_forward_hook(lambda *_: pytest.fail("layer 2 was run"))
    prompts = encode_prompts(make_tokenizer(), PROMPTS)
    collected = collect_pooled_inputs(
        model, anatomy, prompts, [Pooling.TAIL], [1], BatchSize(4, CPU), lambda done: None
    )
    assert {name.split(".")[2] for name in collected[Pooling.TAIL].by_module} == {"1"}


def test_hooks_are_gone_afterwards_even_after_an_error() -> None:
    model = make_model("llama")
    handle = model.model.layers[1].register_forward_hook(lambda *_: (_ for _ in ()).throw(ValueError("broken")))
    with pytest.raises(ValueError, match="broken"):
        collect(model, encode_prompts(make_tokenizer(), PROMPTS), Pooling.TAIL)
    handle.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_token_weights_sum_to_one_on_the_right_tokens() -> None:
    tokenizer = make_tokenizer()
    (prompt,) = encode_prompts(tokenizer, ["  Hello there "])
    assert tokenizer.decode(prompt.ids[prompt.user_start : prompt.user_end]) == "Hello there"
    for pooling in Pooling:
        assert float(token_weights(prompt, pooling).sum()) == pytest.approx(1)
    assert token_weights(prompt, Pooling.LAST).argmax() == len(prompt) - 1
    assert float(token_weights(prompt, Pooling.USER)[: prompt.user_start].sum()) == 0


def test_the_chat_template_is_rendered_once_without_a_second_bos() -> None:
    tokenizer = make_tokenizer()
    (prompt,) = encode_prompts(tokenizer, ["Hello"])
    assert prompt.ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(prompt.ids) == "<s>You are kind.\n<|user|>Hello</s>\n<|assistant|>"


def test_the_shared_prefix_leaves_a_token_to_each_prompt() -> None:
    model = make_model("llama")
    assert shared_prefix_length(model, [(1, 2, 3), (1, 2, 4), (1, 2)], "left") == 1
    assert shared_prefix_length(model, [(5, 2, 3), (1, 2, 4)], "left") == 0
    assert shared_prefix_length(model, [(1, 2, 3), (1, 2, 3)], "left") == 2
    assert shared_prefix_length(model, [(1, 2, 3)], "left") == 0


def test_batch_size_backs_off_on_out_of_memory_and_goes_on_where_it_was() -> None:
    done: list[int] = []

    def work(rows: Any) -> None:
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(rows)

    size = BatchSize("auto", CPU)
    assert list(size.run(range(10), work)) == [2, 2, 2, 2, 2]
    assert done == list(range(10))


def test_batch_size_lets_every_other_error_through() -> None:
    def work(rows: Any) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(BatchSize("auto", CPU).run(range(4), work))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))


@pytest.mark.parametrize(
    "text",
    [
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_memory_that_ran_out_is_recognised_in_errors_of_no_class_of_its_own(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
