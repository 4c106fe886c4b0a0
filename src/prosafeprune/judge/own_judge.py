"""A judge of the user's own, whose code may fail or return anything."""

from collections.abc import Sequence
from dataclasses import dataclass

from prosafeprune.errors import InputError, ProSafePruneError, first_line
from prosafeprune.judge.verdict import Exchange, Judge, Verdict
from prosafeprune.requests.judging import JUDGE_NAMES
from prosafeprune.requests.own_class import import_own

TAKEN = (*JUDGE_NAMES, "rules")
"""How the names of this package's judges begin: verdicts are kept under the name, and pages say what is known of it."""


@dataclass(frozen=True)
class OwnJudge:
    """A judge whose verdicts are checked."""

    wrapped: Judge
    source: str
    """Its ``module:Class``, for messages."""

    @property
    def name(self) -> str:
        """The judge's own name, for records."""
        return self.wrapped.name

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict for each exchange, in order. Raises InputError when the judge fails or returns others."""
        try:
            verdicts = list(self.wrapped.judge(exchanges))
        except ProSafePruneError:
            raise
        except Exception as error:
            raise InputError(f"--judge {self.source}: fails ({type(error).__name__}: {first_line(error)}).") from error
        if len(verdicts) != len(exchanges) or not all(isinstance(one, Verdict) for one in verdicts):
            raise InputError(
                f"--judge {self.source}: must return a prosafeprune.judge.Verdict for each of {len(exchanges)} answers."
            )
        return verdicts


def make_own_judge(source: str) -> OwnJudge:
    """Return the judge that ``module:Class`` names, made without arguments.

    Raises:
        InputError: it cannot be imported or made, or is not a judge.
    """
    kind = import_own(source)
    try:
        made = kind()
    except Exception as error:  # the user's code may fail in any way
        raise InputError(
            f"--judge {source}: cannot be made without arguments ({type(error).__name__}: {first_line(error)})."
        ) from error
    name = getattr(made, "name", None)
    if not isinstance(name, str) or not name.strip() or not callable(getattr(made, "judge", None)):
        raise InputError(f"--judge {source}: is not a judge. It needs a text `name` and a method `judge(exchanges)`.")
    if name.startswith(TAKEN):
        raise InputError(f"--judge {source}: is called {name!r}, like a judge of this package. Give it another `name`.")
    return OwnJudge(made, source)
