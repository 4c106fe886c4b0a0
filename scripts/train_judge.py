"""Train the built-in judge and write its weights.

    python scripts/train_judge.py --data DATA

DATA holds PHTest's answers, XSTest's prompts and labelled completions, and the clean text that docs/judges.md names.
The prompts kept for testing take no part.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from safetensors.numpy import save

sys.path.insert(0, str(Path(__file__).parent / "judge_training"))
from data import LabelledAnswer, read_all
from fit import fit_english, fit_languages
from salad import fit_salad

import prosafeprune.judges.learned.answer_model as answer_model

WEIGHTS = Path(answer_model.__file__).with_name(answer_model.WEIGHTS_FILE)
UNDETERMINED = 0.01
"""The share of carefully labelled answers that may come out undetermined."""


def main() -> None:
    """Fit all parts and write the weights with the facts of their making."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    answers = [answer for answer in read_all(data) if not answer.for_testing]
    english = [answer for answer in answers if answer.source != "languages"]
    arrays, refusal, _ = fit_english(english)
    arrays |= fit_languages([answer for answer in answers if answer.source == "languages"])
    salad, threshold = fit_salad(data)
    arrays |= salad
    facts = {
        "made_by": "scripts/train_judge.py",
        "answers": ", ".join(
            f"{source} {count}" for source, count in sorted(Counter(a.source for a in answers).items())
        ),
        "labels_read_by_us": str(sum(answer.careful and answer.source == "phtest" for answer in answers)),
        "sha256_of_answers": digest(answers),
        "undetermined_below": f"{0.5 + np.quantile(abs(refusal - 0.5), UNDETERMINED):.4f}",
        "salad_threshold": f"{threshold:.4f}",
        "seed": "0",
    }
    raw = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata=facts)
    WEIGHTS.write_bytes(raw)
    print(f"{WEIGHTS}: {len(raw) / 1e6:.2f} MB, {facts}")


def digest(answers: list[LabelledAnswer]) -> str:
    """Return a hash of all prompts, answers and labels."""
    text = "\0".join(f"{answer.prompt}\0{answer.answer}\0{answer.label}" for answer in answers)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


if __name__ == "__main__":
    main()
