"""Put XSTest's prompts back to the labelled answers that name them by id, for `prosafeprune judge`.

    python scripts/judge_corpus.py XSTEST.jsonl > corpus.jsonl

XSTEST.jsonl has one object a line with XSTest's ``id`` and ``prompt``. Its prompts (CC BY 4.0) are not part of this
project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ANSWERS = Path(__file__).parents[1] / "tests" / "judges" / "judge_answers.jsonl"


def main() -> None:
    """Write the answers with their prompts to stdout."""
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").split("\n") if line]
    prompts = {str(row["id"]): row["prompt"] for row in rows}
    for line in ANSWERS.read_text(encoding="utf-8").split("\n"):
        if line:
            row = json.loads(line)
            row.setdefault("prompt", prompts.get(row.get("xstest", ""), ""))
            print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
