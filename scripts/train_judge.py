"""Train the built-in judge and write its weights.

    python scripts/train_judge.py --data DATA
    python scripts/train_judge.py --data DATA --parts languages     # the English parts and word salad stay as they are

DATA holds PHTest's answers, XSTest's prompts and labelled completions, and the clean text that docs/judges.md names.
The prompts kept for testing take no part.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

sys.path.insert(0, str(Path(__file__).parent / "judge_training"))
from data import LabelledAnswer, languages, read_all
from fit import Arrays, fit_english, fit_languages
from salad import fit_salad

import prosafeprune.judges.learned.answer_model as answer_model

WEIGHTS = Path(answer_model.__file__).with_name(answer_model.WEIGHTS_FILE)
UNDETERMINED = 0.01
"""The share of carefully labelled answers that may come out undetermined."""


def main() -> None:
    """Fit the parts asked for and write the weights with the facts of their making."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the others stay as they are")
    options = parser.parse_args()
    arrays, facts = ({}, {}) if set(options.parts) == set(PARTS) else shipped_weights()
    for part in options.parts:
        made, told = PARTS[part](options.data)
        arrays |= made
        facts |= told
    facts |= {"made_by": "scripts/train_judge.py", "seed": "0"}
    raw = in_order(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata=facts))
    WEIGHTS.write_bytes(raw)
    print(f"{WEIGHTS}: {len(raw) / 1e6:.2f} MB, {facts}")


def in_order(raw: bytes) -> bytes:
    """Return a safetensors file with its facts in alphabetical order: the library writes them in a random one."""
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    return raw[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(end - 8) + raw[end:]


def english(data: Path) -> tuple[Arrays, dict[str, str]]:
    """Fit the parts for English."""
    answers = [answer for answer in read_all(data) if not answer.for_testing and answer.source != "languages"]
    arrays, refusal, _ = fit_english(answers)
    return arrays, {
        "answers": ", ".join(
            f"{source} {count}" for source, count in sorted(Counter(a.source for a in answers).items())
        ),
        "labels_read_by_us": str(sum(answer.careful and answer.source == "phtest" for answer in answers)),
        "sha256_of_answers": digest(answers),
        "undetermined_below": f"{0.5 + np.quantile(abs(refusal - 0.5), UNDETERMINED):.4f}",
    }


def other_languages(data: Path) -> tuple[Arrays, dict[str, str]]:
    """Fit the part for the other languages, whose answers are all of this project."""
    answers = [answer for answer in languages() if not answer.for_testing]
    return fit_languages(answers), {
        "answers_in_other_languages": str(len(answers)),
        "sha256_of_other_languages": digest(answers),
    }


def salad(data: Path) -> tuple[Arrays, dict[str, str]]:
    """Fit the detector of word salad."""
    arrays, threshold = fit_salad(data)
    return arrays, {"salad_threshold": f"{threshold:.4f}"}


PARTS = {"english": english, "languages": other_languages, "salad": salad}


def shipped_weights() -> tuple[Arrays, dict[str, str]]:
    """Return the arrays and facts of the weights as they are."""
    with safe_open(WEIGHTS, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118 - not a dictionary


def digest(answers: list[LabelledAnswer]) -> str:
    """Return a hash of all prompts, answers and labels."""
    text = "\0".join(f"{answer.prompt}\0{answer.answer}\0{answer.label}" for answer in answers)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


if __name__ == "__main__":
    main()
