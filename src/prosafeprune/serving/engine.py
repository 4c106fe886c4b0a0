"""Answers to many conversations at once from one model in memory.

One thread runs the model. Between two tokens, new conversations join the batch, and answers that ended, or that nobody
waits for any more, leave it. Where the model's cache cannot be joined (sliding windows, linear attention), those that
arrive together share a batch, and the batches take turns.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from prosafeprune.errors import InputError, ProSafePruneError, first_line
from prosafeprune.generation.decoding import NAN_LOGITS, NO_TOKEN, PlainBatchDecoder
from prosafeprune.generation.prefill import PrefilledBatch, can_be_joined, join, prefill, trim
from prosafeprune.generation.thought_tokens import AnswerDecoder
from prosafeprune.model.batches import cache_bytes_per_token, is_out_of_memory
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache, require_known_tokens, require_positions, usable_positions
from prosafeprune.prompts.conversation import Turn
from prosafeprune.serving.corrections import Corrections
from prosafeprune.serving.kept_conversations import KeptConversations
from prosafeprune.serving.running_answer import PROBED_TOKENS, Piece, Question, RunningAnswer, TextStream
from prosafeprune.serving.served_edit import ServedEdit
from prosafeprune.text import is_blank

MOST_ROWS = 32
MOST_WAITING = 256
JOINING = 8
"""Maximum prompts prefilled between two decoding steps."""
CACHE_BYTES = {"cpu": 2 * 2**30}
"""Memory for keys and values, by device; on a GPU it is half of what is free."""
KEPT_SHARE = 0.25
"""Additional share of that memory, for conversations that may continue."""
TRIMMED = 64
"""Minimum columns of padding that are worth dropping."""
RefusalProbe = Callable[[torch.Tensor], float]
"""Maps the mean state ``(d,)`` at the first answer tokens to the probability of a refusal."""


class EngineBusyError(ProSafePruneError):
    """Too many conversations are waiting, or memory is short; a later one may be taken."""


@dataclass(eq=False)
class _Batch:
    decoder: PlainBatchDecoder
    answers: list[RunningAnswer]


class Engine:
    """Runs a model in a thread until it is closed."""

    def __init__(self, loaded: LoadedModel, edits: Sequence[ServedEdit] = ()) -> None:
        self.loaded = loaded
        self.corrections = Corrections(loaded)
        for edit in edits:
            self.corrections.prepare(edit)
        self.probe: RefusalProbe | None = None
        """Estimates the probability of a refusal for each piece, once it is set."""
        self._decode = AnswerDecoder(loaded.tokenizer)
        self._budget = _cache_budget(loaded)
        self._bytes_per_token = cache_bytes_per_token(loaded.model)
        self.kept = KeptConversations(loaded.model, int(KEPT_SHARE * self._budget / self._bytes_per_token))
        self._waiting: deque[RunningAnswer] = deque()
        self._batches: list[_Batch] = []
        self._states: list[torch.Tensor] = []
        self._changed = threading.Condition()
        self._model_in_use = threading.Lock()
        self._pauses = 0
        self._encoding = threading.Lock()
        self._closed = False
        head = loaded.model.get_output_embeddings()
        self._head_hook = head.register_forward_pre_hook(self._record_state)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def encode(self, turns: Sequence[Turn], system: str | None = None) -> tuple[int, ...]:
        """Return the tokens of a conversation that ends with a user's turn.

        Raises:
            InputError: it does not, or the chat template fails on it.
        """
        if not turns or turns[-1][0] != "user" or is_blank(turns[-1][1]):
            raise InputError("A conversation must end with words of the user. Add a message with the role user.")
        with self._encoding:
            return encode_prompts(self.loaded.tokenizer, [turns[-1][1]], system, turns[:-1])[0].ids

    def within_positions(self, ids: Sequence[int], most: int) -> int:
        """Return how many of ``most`` tokens the model's positions leave for an answer to a prompt, at least 1."""
        positions, _ = usable_positions(self.loaded.model.config.get_text_config(decoder=True))
        return most if positions is None else max(1, min(most, positions - len(ids)))

    def start(self, question: Question, hand_over: Callable[[Piece], None]) -> RunningAnswer:
        """Queue a question; ``hand_over`` is called from the engine's thread with each piece of the answer.

        Raises:
            InputError: prompt and answer are longer than the model's positions, or the tokenizer is another model's.
            EngineBusyError: too many are waiting.
        """
        config = self.loaded.model.config.get_text_config(decoder=True)
        require_known_tokens(config, [question.ids])
        require_positions(config, len(question.ids) + question.max_new_tokens, question.max_new_tokens)
        answer = RunningAnswer(question, hand_over, TextStream(self._decode, question.stop))
        with self._changed:
            if self._closed or len(self._waiting) >= MOST_WAITING:
                raise EngineBusyError(f"{len(self._waiting)} requests are waiting. Try again later.")
            self._waiting.append(answer)
            self._changed.notify()
        return answer

    def stream(self, question: Question) -> Iterator[Piece]:
        """Yield the pieces of an answer; a consumer that stops early cancels it.

        Raises:
            InputError: as :meth:`start` does, or out of memory.
        """
        pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        answer = self.start(question, pieces.put)
        try:
            while True:
                piece = pieces.get()
                if piece.error is not None:
                    raise piece.error
                yield piece
                if piece.is_last:
                    return
        finally:
            answer.cancel()

    @property
    def load(self) -> tuple[int, int]:
        """Numbers of answers in progress and of questions that wait."""
        return sum(len(batch.answers) for batch in self._batches), len(self._waiting)

    @contextmanager
    def paused(self) -> Iterator[LoadedModel]:
        """Reserve the base model for other work in this process inside the context; no token is generated meanwhile."""
        with self._changed:
            self._pauses += 1
        try:
            with self._model_in_use:
                self.corrections.use([])
                yield self.loaded
        finally:
            with self._changed:
                self._pauses -= 1
                self._changed.notify()

    def close(self) -> None:
        """End the thread; answers in progress fail. Remove the hooks from the model."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self.corrections.close()
        self._head_hook.remove()

    @torch.inference_mode()
    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (self._pauses or not (self._waiting or self._batches)):
                    self._changed.wait()
                if self._closed:
                    break
                joining = self._next_to_join()
            with self._model_in_use:
                if joining:
                    self._admit(joining)
                for batch in self._batches:
                    self._advance(batch)
                self._batches = [batch for batch in self._batches if batch.answers]
        running = [answer for batch in self._batches for answer in batch.answers]
        _fail([*self._waiting, *running], EngineBusyError("The engine was closed. Start it again."))

    def _next_to_join(self) -> list[RunningAnswer]:
        """Take questions from the queue while there are rows and memory; an idle engine always admits one."""
        running = [answer for batch in self._batches for answer in batch.answers]
        reserved = sum(map(self._bytes, running))
        taken: list[RunningAnswer] = []
        while self._waiting and len(taken) < JOINING and len(running) + len(taken) < MOST_ROWS:
            if self._waiting[0].cancelled.is_set():
                self._waiting.popleft()
                continue
            reserved += self._bytes(self._waiting[0])
            if (running or taken) and reserved > self._budget:
                break
            taken.append(self._waiting.popleft())
        return sorted(taken, key=lambda answer: len(answer.question.ids))

    def _bytes(self, answer: RunningAnswer) -> int:
        return (len(answer.question.ids) + answer.question.max_new_tokens) * self._bytes_per_token

    def _admit(self, joining: Sequence[RunningAnswer]) -> None:
        """Begin the answers of new conversations, in the running batch if their cache can be joined.

        On error they fail, and with them those of the batch that they were to join: its cache may be half joined.
        """
        affected = list(joining)
        try:
            batch = self._begin(joining)
            if self._batches and can_be_joined(batch.decoder.batch.cache):
                running = self._batches.pop()
                affected += running.answers
                joined = join([running.decoder.batch, batch.decoder.batch])
                batch = self._batch_of([*running.answers, *batch.answers], joined)
            self._batches.append(batch)
        except Exception as error:  # noqa: BLE001 - handed over to whoever waits
            _fail(affected, error)

    def _begin(self, joining: Sequence[RunningAnswer]) -> _Batch:
        """Run the prompts of new conversations; of those that continue a kept one, only what is new."""
        begun = {answer: self.kept.beginning_of(answer.question) for answer in joining}
        alone = [answer for answer in joining if begun[answer] is not None]
        together = [answer for answer in joining if begun[answer] is None]
        # No shared prefix: under different edits, the same tokens have different keys and values.
        nothing = PrefixCache(self.loaded.model, [], 0)
        parts = [self._prefill([answer], begun[answer] or nothing) for answer in alone]
        parts += [self._prefill(together, nothing)] if together else []
        self._states.clear()
        return self._batch_of([*alone, *together], join(parts) if alone else parts[0])

    def _batch_of(self, answers: list[RunningAnswer], prefilled: PrefilledBatch) -> _Batch:
        batch = _Batch(PlainBatchDecoder(self.loaded, prefilled), answers)
        batch.decoder.before_pass = lambda rows: self.corrections.use(
            [answer.question.applied for answer in batch.answers]
        )
        return batch

    def _prefill(self, joining: Sequence[RunningAnswer], prefix: PrefixCache) -> PrefilledBatch:
        suffixes = [answer.question.ids[prefix.length :] for answer in joining]
        return prefill(
            self.loaded,
            suffixes,
            prefix,
            lambda rows: self.corrections.use([joining[row].question.applied for row in rows]),
        )

    def _advance(self, batch: _Batch) -> None:
        """Generate a token of each answer of a batch; on error, all of them fail and leave it."""
        try:
            self._step(batch)
        except Exception as error:  # noqa: BLE001 - handed over to whoever waits
            _fail(batch.answers, error)
            batch.answers = []

    def _step(self, batch: _Batch) -> None:
        """Choose a token of each answer; answers that end with it leave the batch; run the others' tokens."""
        logits = batch.decoder.logits
        greedy = torch.where(logits.amax(dim=-1).isnan(), NO_TOKEN, logits.argmax(dim=-1)).tolist()
        ends = set(self.loaded.end_ids)
        kept, tokens = [], []
        for row, answer in enumerate(batch.answers):
            if greedy[row] == NO_TOKEN:
                answer.fail(ProSafePruneError(NAN_LOGITS))
                continue
            if not answer.cancelled.is_set():
                token = greedy[row] if answer.question.temperature == 0 else answer.choose(logits[row])
                if answer.take(token, ends):
                    kept.append(row)
                    tokens.append(token)
                    continue
            self.kept.keep(answer.question, answer.stream.ids, batch.decoder.batch, row)
        if len(kept) < len(batch.answers):
            batch.answers = [batch.answers[row] for row in kept]
            if not kept:
                return
            batch.decoder.keep(torch.tensor(kept, device=logits.device))
            trim(batch.decoder.batch, TRIMMED)
        self._states.clear()
        batch.decoder.append(torch.tensor(tokens, device=logits.device))
        if self.probe is not None:
            self._estimate(batch.answers, self.probe)

    def _estimate(self, answers: Sequence[RunningAnswer], probe: RefusalProbe) -> None:
        states = torch.cat(self._states)
        for row, answer in enumerate(answers):
            if len(answer.states) < PROBED_TOKENS:
                answer.states.append(states[row])
                answer.refusal = probe(torch.stack(answer.states).float().mean(dim=0))

    def _record_state(self, module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        if self.probe is not None:
            self._states.append(arguments[0][:, -1])


def _fail(answers: Sequence[RunningAnswer], error: Exception) -> None:
    for answer in answers:
        answer.fail(_explained(error))


def _explained(error: Exception) -> Exception:
    if is_out_of_memory(error):
        return EngineBusyError("Out of memory. Ask for fewer or shorter answers at a time, or use --device cpu.")
    if isinstance(error, ProSafePruneError):
        return error
    return ProSafePruneError(f"Generation failed: {type(error).__name__}: {first_line(error)}.")


def _cache_budget(loaded: LoadedModel) -> int:
    if loaded.device.type == "cuda":
        return torch.cuda.mem_get_info(loaded.device)[0] // 2
    return CACHE_BYTES["cpu"]
