"""Chat logs for ``prompts mine``, and prompt files with policies, in which something is damaged or odd."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

from fault_campaign import mutations
from fault_campaign.cases import Bad
from fault_campaign.world import LAYERS, World, evaluating, pruning

REFUSAL = "I'm sorry, but I can't help with that."
ODD_TEXT = (
    *("", " ", "\u200b", "\0", "\ud83d", "\x1b]52;c;eA==\x07\x1b[2J", "\u202edcba", "</script><img src=x onerror=x()>"),
    *("[/bold]", "a" * 1_200_000, "<think>" * 50_000, "[INST]" * 20_000, "=cmd|' /C calc'!A0", "{{ 7 * 7 }}"),
    *("a@b.cc " * 20_000, "password: " * 20_000, "4" * 100_000, "-----BEGIN PRIVATE KEY-----" * 3_000, "DE89 " * 9_000),
)


def log(world: World, case: Path, draw: random.Random) -> Bad:
    """Damage a chat log of one of the kinds that are read."""
    kind = draw.choice(["jsonl", "json", "csv", "log", "eval", "parquet", "jsonl.gz", "json.gz", "csv.gz"])
    file = case / f"traffic.{kind}"
    entries = [_entry(number, draw) for number in range(4)]
    what = "as it should be"
    if draw.random() < 0.6:
        entries, what = mutations.changed(entries, draw)
    elif draw.random() < 0.8:
        entries[1]["messages"][-1 if draw.random() < 0.5 else 0]["content"] = (odd := draw.choice(ODD_TEXT))
        what = f"a message {ascii(odd)[:30]}"
    raw = _stored(entries, kind.removesuffix(".gz"))
    if kind.endswith(".gz"):
        raw = gzip.compress(raw)
    file.write_bytes(raw)
    if draw.random() < 0.4:
        what += f", {draw.choice((mutations.spoil_bytes, mutations.spoil_bytes, mutations.no_file))(file, draw)}"
    given = draw.choice([[file], [file], [file], [case], [file, file], [world.answers, file]])
    more = draw.choice([[], [], ["--limit", 1], ["--keep-personal"], ["--prompt-field", "q", "--answer-field", "a"]])
    return Bad(["prompts", "mine", *given, "-o", case / "out", *more], f"a log {kind}, {what}")


def _entry(number: int, draw: random.Random) -> Any:
    asked = f"Tell me of wish {number}, mail me at a{number}@b.example"
    messages: list[Any] = [{"role": "user", "content": asked}, {"role": "assistant", "content": REFUSAL}]
    if draw.random() < 0.3:
        messages.insert(0, {"role": "system", "content": "Only speak of boats."})
    entry: dict[str, Any] = {"messages": messages}
    if draw.random() < 0.2:
        entry = {"messages": messages[:-1], "response": {"choices": [{"message": {"content": REFUSAL}}]}}
    if draw.random() < 0.1:
        entry["request"] = {"body": {"messages": messages}}
    return entry


def _stored(entries: Any, kind: str) -> bytes:
    listed = entries if isinstance(entries, list) else [entries]
    if kind == "jsonl":
        return "".join(json.dumps(entry) + "\n" for entry in listed).encode()
    if kind == "json":
        return json.dumps(entries).encode()
    if kind == "csv":
        cells = [json.dumps(entry.get("messages") if isinstance(entry, dict) else entry) for entry in listed]
        return ("messages\n" + "".join('"' + cell.replace('"', '""') + '"\n' for cell in cells)).encode()
    if kind == "log":
        lines = []
        for number, entry in enumerate(listed):
            text = f"<|im_start|>user\n{json.dumps(entry)}<|im_end|>\n"
            lines += [f"INFO Received request chatcmpl-{number}: prompt: {text!r}, params: x"]
            lines += [f"INFO Generated response chatcmpl-{number}: output: {REFUSAL!r}, output_token_ids: None"]
        return "\n".join(lines).encode(errors="replace")
    if kind == "eval":
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for number, entry in enumerate(listed):
                archive.writestr(f"samples/{number}.json", json.dumps(entry))
        return made.getvalue()
    import pyarrow
    from pyarrow import parquet

    made = io.BytesIO()
    texts = [json.dumps(entry.get("messages") if isinstance(entry, dict) else entry) for entry in listed]
    parquet.write_table(pyarrow.table({"messages": pyarrow.array(texts, pyarrow.string())}), made)
    return made.getvalue()


def policies(world: World, case: Path, draw: random.Random) -> Bad:
    """Give prompts with policies (system prompts), or conversations, of which one is odd."""
    ending = draw.choice(["jsonl", "jsonl", "csv"])
    file = case / f"policies.{ending}"
    rows: list[dict[str, Any]] = [
        {"system": "Only speak of boats.", "prompt": f"Tell me of boat {number * number}"} for number in range(6)
    ]
    if draw.random() < 0.5:
        roles = ("user", "assistant", "user")
        rows[2] = {"messages": [{"role": role, "content": f"{role} {i}"} for i, role in enumerate(roles)]}
    if draw.random() < 0.5:
        odd = draw.choice(ODD_TEXT)
        rows[1] = {**rows[1], draw.choice(["system", "system", "prompt", "category"]): odd}
        what = f"a text {ascii(odd)[:30]}"
    else:
        number = draw.randrange(len(rows))
        changed, what = mutations.changed(rows[number], draw)
        rows[number] = changed
    if ending == "csv":
        cells = [[_cell(row, name) for name in ("system", "prompt", "messages")] for row in rows]
        file.write_text("system,prompt,messages\n" + "".join(",".join(row) + "\n" for row in cells), errors="replace")
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    option = draw.choice(["--test-harmful", "--test-pseudo-harmful"])
    arguments = draw.choice(
        [
            [*evaluating(world, case / "out"), option, file],
            [*evaluating(world, case / "out"), option, file, "--system", "Be kind."],
            [*pruning(world, case / "out", *LAYERS), "--benign", file],
            ["prompts", "check", file],
            ["prompts", "split", file, "-o", case / "out"],
        ]
    )
    return Bad(arguments, f"policies in a {ending}, {what}")


def _cell(row: Any, name: str) -> str:
    value = row.get(name, "") if isinstance(row, dict) else row
    text = value if isinstance(value, str) else json.dumps(value)
    return '"' + text.replace('"', '""') + '"'
