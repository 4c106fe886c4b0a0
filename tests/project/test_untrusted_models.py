"""The parts of foreign models that libraries read: any file is used, or is one line."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from fault_campaign import mutations
from helpers.fixture_types import Make
from helpers.limits import limited
from helpers.tiny_models import make_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from prosafeprune.errors import InputError
from prosafeprune.model.adapters import attach_adapter, find_subject
from prosafeprune.model.loading import load_model
from prosafeprune.model.source import find_source
from prosafeprune.progress import SilentReporter
from prosafeprune.report.card import CARD_FILE, _metadata, _read, _split

MODEL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
SPOILING: tuple[mutations.Mutation, ...] = (
    *mutations.ANY_JSON,
    *mutations.ANY_JSON,
    *mutations.NEVER,
    mutations.no_file,
)


@pytest.fixture(scope="module")
def places(checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model, and an adapter on it."""
    folder = tmp_path_factory.mktemp("adapter")
    adapted = get_peft_model(make_model("llama"), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = str(checkpoint("llama"))
    adapted.save_pretrained(folder)
    return {"model": checkpoint("llama"), "adapter": folder}


def use(folder: Path) -> None:
    subject = find_subject(str(folder))
    loaded = load_model(subject.source.path, "the model", SilentReporter(), device="cpu")
    if subject.adapter is not None:
        attach_adapter(loaded, subject.adapter, "the adapter")


@pytest.mark.parametrize("name", [*MODEL_FILES, *ADAPTER_FILES])
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_any_file_of_a_model_is_used_or_is_one_line(name: str, places: dict[str, Path], seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        whole = places["adapter" if name in ADAPTER_FILES else "model"]
        folder = Path(shutil.copytree(whole, Path(place) / "folder"))
        usual = (mutations.spoil_bytes,) if name.endswith(".safetensors") else SPOILING
        draw.choice(usual)(folder / name, draw)
        with limited():
            try:
                use(folder)
            except InputError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("which", ["model", "adapter"])
def test_what_is_as_it_should_be_is_used(which: str, places: dict[str, Path]) -> None:
    use(places[which])


TEMPLATE = st.lists(
    st.sampled_from(
        [
            "{{",
            "}}",
            "{%",
            "%}",
            " for m in messages ",
            " endfor ",
            " if ",
            " endif ",
            "messages",
            "[0]",
            ".content",
            "'a'",
        ]
        + [
            "|tojson",
            "|length",
            " * 99999",
            " set x = ",
            "raise_exception",
            "{{ messages[0]['content'] }}",
            " macro m() ",
        ]
    )
    | st.text(max_size=4),
    max_size=15,
).map("".join)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(template=TEMPLATE)
def test_any_chat_template_is_rendered_or_is_one_line(template: str, places: dict[str, Path]) -> None:
    from prosafeprune.model.chat_template import encode_prompts
    from prosafeprune.model.loading import load_tokenizer

    tokenizer = load_tokenizer(places["model"], "the model")
    tokenizer.chat_template = template or " "
    try:
        encoded = encode_prompts(tokenizer, ["Open the box"])
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert encoded[0].user_end > encoded[0].user_start


FRONT = st.lists(
    st.sampled_from(
        [
            "---\n",
            "a: b\n",
            "tags: 5\n",
            "tags: [x, ",
            "license: mit\n",
            "&a ",
            "*a",
            "- ",
            "? ",
            '"\\ud83d"\n',
            "x: .nan\n",
        ]
        + ["datasets: {a: b}\n", "2020-01-01: 1\n", "!!python/object:os.x ", "\ufeff", "\r\n", "```\n", "<!--", "\0"]
    )
    | st.text(max_size=5),
    max_size=15,
).map("".join)


@given(card=FRONT)
def test_any_card_of_the_base_gives_metadata_that_can_be_written(card: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / CARD_FILE).write_bytes(f"---\n{card}".encode(errors="surrogatepass"))
        metadata, text = _split(_read(Path(place) / CARD_FILE))
    record: Any = SimpleNamespace(recipe=SimpleNamespace(format="checkpoint"), calibration={})
    written = yaml.safe_dump(_metadata(metadata, record, None), sort_keys=False, allow_unicode=True)
    assert isinstance(yaml.safe_load(written), dict)
    assert written.encode()
    assert text.encode().decode() == text


def test_a_file_that_libraries_would_read_for_hours_is_refused(checkpoint: Make, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "README.md", "merges.txt"):
        folder = Path(shutil.copytree(checkpoint("llama"), tmp_path / name))
        with (folder / name).open("ab") as stream:
            stream.truncate(10 * 2**30)  # sparse
        with pytest.raises(InputError, match=f"{name} has 10.7 GB, more than any model's"):
            find_source(str(folder))
