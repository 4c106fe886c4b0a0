"""Files of JSON, a line each."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().split("\n") if line]


def write_prompts(path: Path, prompts: Iterable[str]) -> str:
    return str(write_rows(path, ({"prompt": prompt} for prompt in prompts)))
