"""A model that is spread over two GPUs does what it does on one, to the bit. The GPUs are pretended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from helpers.baseline_runs import ENDS, fit_context, texts
from helpers.evaluation_runs import answers_in, prompt_options
from helpers.fixture_types import Make, Run
from helpers.json_lines import write_prompts
from helpers.plan_scoring import make_scorer, score
from helpers.pooled_inputs import PROMPTS, collect, outputs
from helpers.random_edits import random_edits
from helpers.resumed_models import resumed
from helpers.simulated_gpus import PretendTensor, pretend_gpus
from helpers.tiny_models import make_model, make_tokenizer

from prosafeprune.analysis.last_states import collect_last_states, unembed
from prosafeprune.baselines.method import Method
from prosafeprune.baselines.scan import Scan
from prosafeprune.baselines.self_cd import SelfCd
from prosafeprune.baselines.surgical import Surgical
from prosafeprune.editing.edits import apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import divergence_from_base, record_base_answers
from prosafeprune.generation.backend import Decoding, answer_all
from prosafeprune.generation.local import LocalGenerator
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.device_placement import ROOM, avoid_cudnn_attention, weight_bytes
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.progress import SilentReporter
from prosafeprune.streaming.meta_model import load_meta_model

FIRST, SECOND = torch.device("cuda:0"), torch.device("cuda:1")
LARGE = 10**9


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import_module("peft")  # it imports bitsandbytes, which needs real GPUs where there seem to be some
    """Two GPUs with room for any tiny model, whose speed cannot be measured."""
    monkeypatch.setattr("prosafeprune.setup.machine.fastest_seconds", lambda work, device: 0.01)
    with pretend_gpus(monkeypatch, [LARGE, LARGE]):
        yield


def on_gpus(architecture: str, second: torch.device) -> LoadedModel:
    """Return a tiny model with all but its embeddings and first layer on the ``second`` device."""
    model = make_model(architecture)
    model.config._experts_implementation = "eager"  # in others, torch asks for a library of CUDA
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    parts = {"model.embed_tokens": FIRST, "model.rotary_emb": FIRST, "model.layers.0": FIRST, "model.layers.1": second}
    parts |= {"model.layers.2": second, "model.norm": second, "lm_head": FIRST if tied else second}
    model = dispatch_model(model.requires_grad_(False), parts, main_device=FIRST, force_hooks=True)
    return LoadedModel("tiny", Path(), model, make_tokenizer(), FIRST, torch.float32, torch.float32, [1, *ENDS])


def collected(loaded: LoadedModel) -> Any:
    inputs = collect(loaded.model, encode_prompts(loaded.tokenizer, PROMPTS), Pooling.TAIL)
    return inputs.by_module, outputs(loaded.model, inputs)


def answered(loaded: LoadedModel) -> Any:
    generator = LocalGenerator(loaded, 3)
    return [
        [answer.text for answer in answer_all(generator, PROMPTS, Decoding(max_new_tokens=8, temperature=temperature))]
        for temperature in (0.0, 1.0)
    ]


def read_resumed(loaded: LoadedModel) -> Any:
    passes = resumed(loaded, [1, 2], 3)
    assert passes.starts == (0, 1, 2)
    edits = random_edits_here(loaded, [1, 2])
    with apply_edits(edits):
        outputs = [dict(passes.run(1, logits=True)), dict(passes.run(2)), dict(passes.run(1, 1))]
    return [[(one[row].hidden, one[row].logits) for row in sorted(one)] for one in outputs]


def diverged(loaded: LoadedModel) -> Any:
    source = record_base_answers(loaded, PROMPTS, BatchSize(3, FIRST), tokens=4)
    with apply_edits(random_edits_here(loaded, [0, 2])):
        return source.answers, divergence_from_base(source, loaded, BatchSize(3, FIRST)).model_dump()


def edited_and_back(loaded: LoadedModel) -> Any:
    before = {name: value.cpu().clone() for name, value in loaded.model.state_dict().items()}
    with apply_edits(random_edits_here(loaded, [0, 1])):
        edited = {name: value.cpu().clone() for name, value in loaded.model.state_dict().items()}
    after = {name: value.cpu() for name, value in loaded.model.state_dict().items()}
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert any(not torch.equal(edited[name], before[name]) for name in before)
    return edited


def scored(loaded: LoadedModel) -> Any:
    scorer = make_scorer(loaded)
    return tuple(score(scorer, random_edits_here(loaded, [layer])) for layer in (1, 2))


def seen_through_head(loaded: LoadedModel) -> Any:
    anatomy, size = find_anatomy(loaded.model), BatchSize(3, FIRST)
    last = collect_last_states(loaded, anatomy, encode_prompts(loaded.tokenizer, PROMPTS), size)
    return last.states, [dict(unembed(loaded, anatomy, last, layer, size)) for layer in range(3)]


def answered_by(method: Method) -> Callable[[LoadedModel], Any]:
    def answered(loaded: LoadedModel) -> Any:
        fitted = method.fit(fit_context(loaded))
        return fitted.tensors, texts(loaded, method, fitted, 3)

    return answered


def random_edits_here(loaded: LoadedModel, layers: list[int]) -> Any:
    return random_edits(loaded.model, layers)


WORK: dict[str, Callable[[LoadedModel], Any]] = {
    "activations": collected,
    "answers": answered,
    "resumed passes": read_resumed,
    "divergence": diverged,
    "edits": edited_and_back,
    "search": scored,
    "lens": seen_through_head,
    "scan": answered_by(Scan(first_layer=0, end_layer=3)),
    "self-cd": answered_by(SelfCd()),
    "surgical": answered_by(Surgical(divergence=10.0)),
}


CASES = [(name, work) for name in ("llama", "phi3", "gemma2") for work in WORK if work != "search"]
CASES += [("mixtral", work) for work in ("activations", "answers", "resumed passes", "edits")]
CASES += [("llama", "search"), ("gemma2", "search")]  # which takes longest


def plain(value: Any) -> Any:
    """Return the numbers of tensors wherever they lie, so that ``==`` compares them."""
    if isinstance(value, torch.Tensor):
        return value.cpu().tolist()
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.long
@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(("architecture", "work"), CASES)
def test_two_gpus_do_what_one_does(architecture: str, work: str) -> None:
    spread = on_gpus(architecture, SECOND)
    assert {parameter.device for parameter in spread.model.parameters()} == {FIRST, SECOND}
    assert plain(WORK[work](spread)) == plain(WORK[work](on_gpus(architecture, FIRST)))


@pytest.mark.usefixtures("gpus")
def test_pretended_gpus_do_not_mix() -> None:
    one, two = torch.ones(2, 2, device=FIRST), torch.ones(2, 2, device=SECOND)
    assert isinstance(one, PretendTensor)
    assert (one + two.to(FIRST)).tolist() == [[2, 2], [2, 2]]
    for mix in (
        lambda: one + two,
        lambda: one @ torch.ones(2, 2),
        lambda: one[two.long()],
        lambda: torch.cat([one, two]),
    ):
        with pytest.raises(RuntimeError, match="on the same device|to be on"):
            mix()


@pytest.mark.parametrize(
    ("device", "memory", "expected"),
    [
        ("all", [LARGE, LARGE], 2),
        ("auto", [LARGE, LARGE], 1),
        ("auto", [260_000, 260_000], 2),
        ("cuda", [260_000, 260_000], 1),
        ("cuda:1", [260_000, 260_000], 1),
        ("auto", [260_000], 1),
        ("auto", [380_000, 160_000], 2),
    ],
)
def test_a_model_too_large_for_one_gpu_is_spread(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch, device: str, memory: list[int], expected: int
) -> None:
    folder = checkpoint("llama")
    assert weight_bytes(folder, torch.float32) == 2 * weight_bytes(folder, torch.bfloat16) == 337_728
    with pretend_gpus(monkeypatch, memory):
        loaded = load_model(folder, "tiny", SilentReporter(), device=device)
        devices = {parameter.device for parameter in loaded.model.parameters()}
        for layer in find_anatomy(loaded.model).layers:
            assert len({parameter.device for parameter in layer.parameters()}) == 1
        for gpu in devices if expected > 1 else ():
            held = sum(one.numel() * 4 for one in loaded.model.parameters() if one.device == gpu)
            assert 0 < held <= ROOM * memory[gpu.index]
    assert len(devices) == expected
    assert loaded.device == (SECOND if device == "cuda:1" else FIRST)
    assert loaded.device_name == ("cuda (Pretend), 2 GPUs" if expected > 1 else "cuda (Pretend)")


@pytest.mark.parametrize(
    ("device", "memory", "message"),
    [
        ("all", [LARGE], "--device all: there is one GPU, and all needs several. Use auto."),
        ("all", [100_000, 100_000], "--device all: tiny takes 0.0 GB, and 2 GPUs have room for 0.0 GB"),
        ("auto", [100_000, 100_000], "--device auto: tiny takes 0.0 GB, and 2 GPUs have room for 0.0 GB"),
    ],
)
def test_gpus_that_cannot_hold_it_are_told(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch, device: str, memory: list[int], message: str
) -> None:
    with pretend_gpus(monkeypatch, memory), pytest.raises(InputError) as caught:
        load_model(checkpoint("llama"), "tiny", SilentReporter(), device=device)
    assert str(caught.value).startswith(message)


def test_without_a_gpu_all_is_refused(checkpoint: Make) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="--device all: there is no GPU"):
        load_model(checkpoint("llama"), "tiny", SilentReporter(), device="all")


def test_low_memory_takes_one_gpu(checkpoint: Make) -> None:
    with pytest.raises(InputError, match="--device all: --memory low runs one layer at a time on one GPU"):
        load_meta_model(checkpoint("llama"), "tiny", device="all", dtype="auto", trust_remote_code=False)


def test_a_quantised_model_is_not_spread(checkpoint: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("llama"), tmp_path / "quantised")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "bitsandbytes"}}))
    with pretend_gpus(monkeypatch, [LARGE, LARGE]), pytest.raises(InputError, match="a quantised model runs on one"):
        load_model(folder, "tiny", SilentReporter(), device="all")


@pytest.mark.long
@pytest.mark.usefixtures("gpus", "few_prompts")
@pytest.mark.parametrize("architecture", ["llama", "phi3"])
def test_the_same_checkpoint_is_written(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, architecture: str
) -> None:
    for device in ("all", "cuda:0"):
        given = {"layers": "0,2", "rank": 4, "max-new-tokens": 4, "max-safety-drop": 100, "device": device}
        given |= {name.replace("_", "-"): file for name, file in prompt_files.items()}
        options = ["--accept-unsafe", "--only-mine"] + [
            text for name, value in given.items() for text in (f"--{name}", value)
        ]
        run.ok("prune", checkpoint(architecture), "-o", tmp_path / device, *options)
    one, spread = tmp_path / "cuda:0", tmp_path / "all"
    assert (spread / "model.safetensors").read_bytes() == (one / "model.safetensors").read_bytes()
    records = [json.loads((folder / "prosafeprune.json").read_text()) for folder in (one, spread)]
    assert [record["run"].pop("device") for record in records] == ["cuda (Pretend)", "cuda (Pretend), 2 GPUs"]
    assert [record["recipe"].pop("device") for record in records] == ["cuda:0", "all"]
    assert records[0] == records[1]


@pytest.mark.long
@pytest.mark.usefixtures("gpus", "few_prompts")
def test_the_same_plans_are_found(run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path) -> None:
    for device in ("all", "cuda:0"):
        options = [*search_options, "--device", device]
        run.ok("search", checkpoint("llama"), "-o", tmp_path / device, *options)
    found = [json.loads((tmp_path / device / "search.json").read_text()) for device in ("all", "cuda:0")]
    assert found[0]["points"] == found[1]["points"]


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("architecture", ["qwen2", "gpt2", "gemma3_vision"])
def test_embeddings_and_a_head_that_is_tied_to_them_lie_together(checkpoint: Make, architecture: str) -> None:
    model = load_model(checkpoint(architecture), "tiny", SilentReporter(), device="all").model
    assert {parameter.device for parameter in model.parameters()} == {FIRST, SECOND}
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert torch.isfinite(model(input_ids=torch.tensor([[5, 6]], device=FIRST)).logits).all()


@pytest.mark.long
@pytest.mark.usefixtures("gpus", "few_prompts")
def test_an_adapter_is_made_and_run(run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    few = ["--layers", "0,2", "--rank", "4", "--max-new-tokens", "4", "--max-safety-drop", "100", "--accept-unsafe"]
    own = [*prompt_options(prompt_files), *few, "--format", "adapter"]
    questions = write_prompts(tmp_path / "questions.jsonl", (f"How do I kill process {i}?" for i in range(4)))
    asked = ["-b", f"oktest={questions}", "--max-new-tokens", "4"]
    for device in ("all", "cuda:0"):
        run.ok("prune", checkpoint("llama"), "-o", tmp_path / device, *own, "--device", device)
        run.ok("evaluate", tmp_path / "all", "-o", tmp_path / f"{device} read", *asked, "--device", device)
    one, spread = tmp_path / "cuda:0", tmp_path / "all"
    file = "adapter_model.safetensors"
    assert (spread / file).read_bytes() == (one / file).read_bytes()
    assert answers_in(tmp_path / "all read") == answers_in(tmp_path / "cuda:0 read")


def test_attention_on_gpus_runs_without_cudnn() -> None:
    kept = torch.backends.cuda.cudnn_sdp_enabled()
    try:
        torch.backends.cuda.enable_cudnn_sdp(True)
        avoid_cudnn_attention(torch.device("cpu"))
        assert torch.backends.cuda.cudnn_sdp_enabled()
        avoid_cudnn_attention(torch.device("cuda"))
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(kept)
