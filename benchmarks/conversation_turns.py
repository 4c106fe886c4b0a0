"""Time to the first token of each turn of a conversation, with and without what the engine keeps of earlier turns.

    python benchmarks/conversation_turns.py MODEL_FOLDER [--tokens 64] [--device cpu]

Both run in this process on the same turns, the second time round in the other order; the figures are the means.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from prosafeprune.model.loading import load_model
from prosafeprune.prompts.conversation import Turn
from prosafeprune.serving import kept_conversations
from prosafeprune.serving.engine import Engine
from prosafeprune.serving.running_answer import Question
from prosafeprune.terminal import TerminalReporter

SAID = (
    "Explain in a paragraph what a hash table is, and when it is slow.",
    "And how does it compare with a balanced tree?",
    "Show a short example in Python.",
    "Which of the two would you use for a dictionary of words, and why?",
)
NEVER = 10**9


def conversation(engine: Engine, tokens: int) -> list[tuple[int, float, float]]:
    """Return for each turn its tokens, and the seconds to the first token and to the last."""
    turns: list[Turn] = []
    measured = []
    for words in SAID:
        ids = engine.encode([*turns, ("user", words)])
        start, text, first = time.perf_counter(), "", None
        for piece in engine.stream(Question(ids, max_new_tokens=tokens)):
            first = first or time.perf_counter() - start
            text += piece.text
        assert first is not None
        measured.append((len(ids), first, time.perf_counter() - start))
        turns += [("user", words), ("assistant", text)]
    return measured


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    with TerminalReporter() as reporter:
        engine = Engine(load_model(arguments.model, str(arguments.model), reporter, device=arguments.device))
    kept, anew = kept_conversations.WORTH_IT, NEVER
    conversation(engine, 4)  # to warm up
    found: dict[int, list[list[tuple[int, float, float]]]] = {kept: [], anew: []}
    for worth in (anew, kept, kept, anew):
        kept_conversations.WORTH_IT = worth
        engine.kept.forget()
        found[worth].append(conversation(engine, arguments.tokens))
    print("turn  tokens  first token anew, s  kept, s   last token anew, s  kept, s")
    for number in range(len(SAID)):
        (first_anew, last_anew), (first_kept, last_kept) = (
            [sum(run[number][part] for run in found[worth]) / 2 for part in (1, 2)] for worth in (anew, kept)
        )
        tokens = found[anew][0][number][0]
        print(f"{number + 1:4}  {tokens:6}  {first_anew:19.2f}  {first_kept:7.2f}  {last_anew:19.2f}  {last_kept:7.2f}")
    engine.close()


if __name__ == "__main__":
    main()
