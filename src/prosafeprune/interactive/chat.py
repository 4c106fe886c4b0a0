"""A chat in the terminal with the base model, the pruned one at any strength, or both."""

import json
import queue
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prosafeprune.errors import InputError, ProSafePruneError
from prosafeprune.files.staging import write_whole
from prosafeprune.files.user_path import user_path
from prosafeprune.jobs.served_model import ServedModel, Side
from prosafeprune.prompts.conversation import Turn
from prosafeprune.serving.corrections import Applied
from prosafeprune.serving.running_answer import Piece, Question
from prosafeprune.terminal import print_text
from prosafeprune.text import for_terminal

UPDATES_PER_SECOND = 8
HELP = """\
/strength 0.6   answer at this strength; without a number, at the plan's own
/base           answer with the base model
/both           answer with both, side by side
/plan NAME      use another plan of the search
/system TEXT    set the system prompt, and start again; without a text, none
/reset          forget the conversation
/save FILE      save the conversation as JSON
/help           show this
/quit           end (or Ctrl-D); Ctrl-C stops an answer
Each side remembers its own answers. Strength 0 is the base model."""


class TerminalScreen:
    """Shows a chat on stdout; without a terminal, two answers follow each other."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._titles: dict[Side, str] = {}
        self._texts: dict[Side, str] = {}
        self._live: Live | None = None

    def note(self, text: str) -> None:
        """Print a remark."""
        print_text(text)

    def begin(self, sides: Mapping[Side, str]) -> None:
        """Begin answers of these sides, with their titles."""
        self._titles = dict(sides)
        self._texts = dict.fromkeys(sides, "")
        if len(sides) > 1 and self.console.is_terminal:
            self._live = Live(
                console=self.console,
                transient=True,
                refresh_per_second=UPDATES_PER_SECOND,
                get_renderable=self._columns,
            )
            self._live.start()

    def add(self, side: Side, text: str) -> None:
        """Show more of a side's answer."""
        self._texts[side] += text
        if len(self._titles) == 1:
            sys.stdout.write(for_terminal(text))
            sys.stdout.flush()

    def end(self) -> None:
        """End the answers."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self.console.print(self._columns())
        elif len(self._titles) > 1:
            for side, title in self._titles.items():
                print_text(f"[{title}]\n{self._texts[side]}")
        else:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _columns(self) -> Table:
        table = Table(expand=True, box=None, padding=(0, 2, 0, 0))
        for title in self._titles.values():
            table.add_column(Text(for_terminal(title)), ratio=1, overflow="fold")
        table.add_row(*(Text(for_terminal(text)) for text in self._texts.values()))
        return table


@dataclass
class ChatSession:
    """A conversation, as the user's lines make it. Each side keeps its own history."""

    served: ServedModel
    screen: TerminalScreen
    system: str | None = None
    max_new_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    strength: float | None = None
    plan: str | None = None
    sides: tuple[Side, ...] = ("base",)
    history: dict[Side, list[Turn]] = field(default_factory=lambda: {"base": [], "pruned": []})

    def __post_init__(self) -> None:
        self.plan = self.served.default
        if self.plan is not None:
            self.sides = ("pruned",)

    def take(self, line: str) -> bool:
        """Act on a line of the user; return whether the chat continues."""
        text = line.strip()
        if not text.startswith("/"):
            if text:
                self._answer(text)
            return True
        name, _, argument = text.partition(" ")
        if name in ("/quit", "/exit"):
            return False
        command = self._commands.get(name)
        if command is None:
            raise InputError(f"{name}: no such command. Type /help for a list.")
        command(argument.strip())
        return True

    @property
    def state(self) -> str:
        """Which models answer, in a few words: the prompt of the terminal."""
        return " | ".join(self._title(side) for side in self.sides)

    @property
    def _commands(self) -> dict[str, Callable[[str], None]]:
        return {
            "/strength": self._set_strength,
            "/base": lambda _: self._choose(("base",)),
            "/both": lambda _: self._choose(("base", "pruned")),
            "/plan": self._set_plan,
            "/system": self._set_system,
            "/reset": lambda _: self._reset(),
            "/save": self._save,
            "/help": lambda _: self.screen.note(HELP),
        }

    def _choose(self, sides: tuple[Side, ...]) -> None:
        if "pruned" in sides and self.plan is None:
            raise InputError("There is no pruned model here. Start the chat with one: prosafeprune chat MODEL PRUNED.")
        self.sides = sides
        self.screen.note(self.state)

    def _set_strength(self, argument: str) -> None:
        sides: tuple[Side, ...] = self.sides if "pruned" in self.sides else ("pruned",)
        if self.plan is None:
            self._choose(sides)
        edit = self.served.edits[self.plan or ""]
        try:
            strength = float(argument) if argument else None
        except ValueError:
            largest = edit.plan.largest_strength
            raise InputError(f"/strength {argument}: is not a number from 0 to {largest:g}.") from None
        edit.at(strength)
        self.strength = strength
        self._choose(sides)

    def _set_plan(self, argument: str) -> None:
        if argument not in self.served.edits:
            raise InputError(f"/plan: name one of {', '.join(self.served.edits) or 'none'}.")
        self.plan, self.strength = argument, None
        self._choose(self.sides if "pruned" in self.sides else ("pruned",))

    def _set_system(self, argument: str) -> None:
        self.system = argument or None
        self._reset()

    def _reset(self) -> None:
        for turns in self.history.values():
            turns.clear()
        self.screen.note("The conversation begins again.")

    def _save(self, argument: str) -> None:
        if not argument:
            raise InputError("/save: name a file, such as /save chat.json.")
        path = user_path(argument)
        try:
            exists = path.exists()
        except OSError as error:  # a name that is too long
            raise InputError(f"{path}: cannot be written ({error.strerror}). Choose another name.") from error
        if exists:
            raise InputError(f"{path}: exists. Choose another name.")
        content = {
            "model": self.served.source.name,
            "plan": self.plan,
            "strength": self.strength,
            "system": self.system,
            "conversations": {
                side: [{"role": role, "content": text} for role, text in turns] for side, turns in self.history.items()
            },
        }
        write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        self.screen.note(f"Saved in {path}.")

    def _title(self, side: Side) -> str:
        if side == "base" or self.plan is None:
            return "base"
        return self.plan if self.strength is None else f"{self.plan}@{self.strength:g}"

    def _applied(self, side: Side) -> Applied | None:
        if side == "base" or self.plan is None:
            return None
        edit = self.served.edits[self.plan]
        return Applied(edit, edit.at(self.strength))

    def _answer(self, prompt: str) -> None:
        engine, pieces = self.served.engine, queue.SimpleQueue[tuple[Side, Piece]]()
        running, texts = [], dict.fromkeys(self.sides, "")
        self.screen.begin({side: self._title(side) for side in self.sides})
        try:
            for side in self.sides:
                ids = engine.encode([*self.history[side], ("user", prompt)], self.system)
                limit = engine.within_positions(ids, self.max_new_tokens)
                question = Question(ids, self._applied(side), limit, self.temperature, seed=f"{self.seed} {prompt}")
                running.append(engine.start(question, lambda piece, side=side: pieces.put((side, piece))))  # type: ignore[misc]
            left = len(running)
            while left:
                side, piece = pieces.get()
                if piece.error is not None:
                    raise piece.error
                texts[side] += piece.text
                self.screen.add(side, piece.text)
                left -= piece.is_last
        except KeyboardInterrupt:  # an answer that was stopped is part of the conversation
            pass
        finally:
            for answer in running:
                answer.cancel()
            self.screen.end()
        for side, text in texts.items():
            self.history[side] += [("user", prompt), ("assistant", text)]


def run_chat(session: ChatSession, read_line: Callable[[str], str], report: Callable[[str], None]) -> None:
    """Chat until the user ends it. Errors are given to ``report``, and the chat continues."""
    running = True
    while running:
        try:
            running = session.take(read_line(f"{session.state}> "))
        except EOFError:
            return
        except ProSafePruneError as error:
            report(str(error))
