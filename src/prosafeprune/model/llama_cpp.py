"""What llama.cpp makes of a GGUF file: the tokens of a text, and the probabilities of the next ones.

llama.cpp ends its process at a file that it does not expect, and keeps memory: it runs in a process of its own, which
has no secrets in its environment. It computes on the CPU, with a cache in float32. Needs ``xllamacpp``, a wheel of it.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prosafeprune.model.template_process import INHERITED

PACKAGE = "xllamacpp"
SECONDS = 1800.0
"""Maximum time: a large file takes minutes to read."""
EVERY, LAST = 16, 256
"""Tokens from one position whose next token is predicted to the following one, and before the last of them."""
MOST_LIKELY = 40
"""Tokens of which each position has the probability."""
FORCED = 1e4
"""Added to the logit of the token that is generated, so that it is printable: otherwise llama.cpp returns no
probabilities. Those it returns are from before this is added."""


class LlamaCppError(Exception):
    """llama.cpp did not answer, for a reason in one line."""


@dataclass(frozen=True)
class Predictions:
    """What llama.cpp returned for a text."""

    tokens: list[int]
    """Its tokens."""
    prompt: list[int]
    """The same with the special tokens that llama.cpp adds."""
    following: dict[int, dict[int, float]]
    """Log-probabilities of the most likely next tokens, by the number of the prompt's tokens before them."""


def is_installed() -> bool:
    """Return whether llama.cpp can be asked."""
    return find_spec(PACKAGE) is not None


def predictions_of(gguf: Path, text: str, threads: int) -> Predictions:
    """Return what llama.cpp makes of a text without special tokens.

    Args:
        gguf: the file, or the first part of a split one.
        text: plain text.
        threads: on which it runs.

    Raises:
        LlamaCppError: it cannot read the file, or took too long.
    """
    environment = {name: os.environ[name] for name in (*INHERITED, "LD_LIBRARY_PATH") if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps([str(gguf.absolute()), text, threads]).encode(),
            capture_output=True,
            env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=SECONDS,
            check=False,
        )
        tokens, prompt, rows = json.loads(done.stdout.strip().rpartition(b"\n")[2])
    except subprocess.TimeoutExpired as error:
        raise LlamaCppError(f"it took longer than {SECONDS / 60:.0f} minutes") from error
    except ValueError as error:
        raise LlamaCppError(_reason(done.stderr.decode(errors="replace")) or f"exit code {done.returncode}") from error
    if not rows:
        raise LlamaCppError(f"it splits a text into {len(prompt)} tokens only")
    following = {count: {int(token): value for token, value in row.items()} for count, row in rows}
    return Predictions(tokens, prompt, following)


def _reason(log: str) -> str:
    """Return the most specific line of llama.cpp's log, without its time stamp."""
    lines = [" ".join(line.split()) for line in log.splitlines() if "error" in line.lower()]
    specific = [line.rpartition("error loading model: ")[2] for line in lines if "error loading model: " in line]
    return (specific or lines[-1:] or [""])[0][:200]


def _answer(gguf: str, text: str, threads: int) -> tuple[list[int], list[int], list[tuple[int, dict[int, float]]]]:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.fit_params = gguf, 2 * LAST, False
    parameters.n_parallel, parameters.warmup, parameters.swa_full = 1, False, True
    parameters.n_gpu_layers, parameters.no_op_offload = 0, True
    parameters.no_extra_bufts = True  # no second copy of the weights in another order
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.cpuparams.n_threads = threads
    server = xllamacpp.Server(parameters)  # on loopback
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def post(path: str, content: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{server.listening_address}{path}", json.dumps(content).encode(), headers)
        with opener.open(asked, timeout=SECONDS) as reply:
            return json.load(reply)

    def tokens(content: str, special: bool) -> list[int]:
        return list(post("/tokenize", {"content": content, "add_special": special})["tokens"])

    forced = [tokens("a", False)[-1], FORCED]
    options = {"n_predict": 1, "temperature": 0, "n_probs": MOST_LIKELY, "logit_bias": [forced]}

    def following(ids: Sequence[int]) -> dict[int, float]:
        (position,) = post("/completion", {**options, "prompt": ids})["completion_probabilities"]
        return {one["id"]: one["logprob"] for one in position["top_logprobs"]}

    prompt = tokens(text, True)
    counts = range(EVERY, min(LAST, len(prompt)) + 1, EVERY)
    return tokens(text, False), prompt, [(count, following(prompt[:count])) for count in counts]


if __name__ == "__main__":
    print("\n" + json.dumps(_answer(*json.load(sys.stdin))), flush=True)
    os._exit(0)  # the server's threads need not end
