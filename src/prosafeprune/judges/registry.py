"""Makes the judge that the settings name. Add a new one in ``KINDS`` and ``_judge``, ``_served`` or ``_in_memory``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prosafeprune.errors import InputError, ProSafePruneError, first_line
from prosafeprune.judges.verdict import NEITHER, AnswerClass, Exchange, Judge, Verdict
from prosafeprune.progress import Reporter
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.parsing import first_changed, import_user_class, shown_value


@dataclass(frozen=True)
class JudgeKind:
    """What a judge can do."""

    served: bool = False
    """Whether it can run behind ``--judge-endpoint``."""
    in_memory: bool = False
    """Whether its model can be loaded in this process."""
    reports_harm: bool = False


KINDS = {
    "builtin": JudgeKind(),
    "wildguard": JudgeKind(served=True, in_memory=True, reports_harm=True),
    "qwen3guard": JudgeKind(served=True, in_memory=True, reports_harm=True),
    "classifier": JudgeKind(in_memory=True),
    "llm": JudgeKind(served=True),
}
USERS = JudgeKind(reports_harm=True)
"""The user's own class, which may report harm."""
TAKEN = (*KINDS, "rules")
"""Name prefixes of this package's judges: verdicts are kept under the name, and pages say what is known of it."""


@dataclass(frozen=True)
class SafetyByHarmlessness:
    """A judge whose verdicts count an answer to a harmful prompt as safe when it is not harmful."""

    wrapped: Judge

    @property
    def name(self) -> str:
        """The judge's name, with what S.S. counts."""
        return f"{self.wrapped.name}, S.S. by harmlessness"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict for each exchange, in order.

        Raises:
            InputError: as the wrapped judge does, or that is the user's own and sets ``harmful`` in no verdict.
        """
        verdicts = self.wrapped.judge(exchanges)
        classified = [verdict for verdict in verdicts if verdict.answer_class not in NEITHER]
        is_silent = bool(classified) and all(verdict.harmful is None for verdict in classified)
        if is_silent and isinstance(self.wrapped, UsersJudge):
            raise InputError(
                f"--safety harmlessness: --judge {self.wrapped.source} does not say whether answers are harmful, "
                "so all would count as harmful. Set Verdict.harmful, or leave --safety out."
            )
        return [replace(verdict, safety="harmlessness") for verdict in verdicts]


def make_judge(settings: JudgeOptions, reporter: Reporter) -> Judge:
    """Return the judge, ready for use: its server has been contacted, or its model is in memory.

    Raises:
        InputError: the settings are in conflict, the server cannot be used, or the model cannot be loaded.
    """
    _check(settings)
    judge = _judge(settings, reporter)
    if settings.safety == "harmlessness":
        return SafetyByHarmlessness(judge)
    return judge


def _check(settings: JudgeOptions) -> None:
    """Raise InputError, before anything is loaded, if settings are in conflict."""
    judge = settings.judge
    kind = USERS if settings.is_user_judge else KINDS[judge]
    if judge == "builtin" and (settings.judge_endpoint or settings.judge_model):
        raise InputError("The builtin judge needs no endpoint and no model. Choose another with --judge.")
    if kind.served and not kind.in_memory and not settings.judge_endpoint:
        raise InputError(f"--judge {judge} needs a server to ask. Give its URL with --judge-endpoint.")
    if kind.in_memory and not kind.served and settings.judge_endpoint:
        raise InputError(f"--judge {judge} runs here. Leave out --judge-endpoint, or choose --judge wildguard.")
    if judge == "classifier" and not settings.judge_model:
        raise InputError("--judge classifier needs a model. Name it with --judge-model, such as NousResearch/Minos-v1.")
    if settings.is_user_judge and (settings.judge_endpoint or settings.judge_model):
        raise InputError(f"--judge {judge}: your own judge takes no --judge-endpoint and no --judge-model.")
    if not settings.judge_endpoint and first_changed(settings, ("judge_concurrency",)):
        raise InputError("--judge-concurrency: is for a judge behind --judge-endpoint. Leave it out.")
    runs_here = kind.in_memory and not settings.judge_endpoint
    if not runs_here and first_changed(settings, ("judge_device",)):
        raise InputError(f"--judge-device: is for a judge model that runs here, which {judge} is not. Leave it out.")
    if settings.safety == "harmlessness" and not kind.reports_harm:
        others = " or ".join(name for name, other in KINDS.items() if other.reports_harm)
        raise InputError(f"--safety harmlessness: the {judge} judge does not report it. Choose --judge {others}.")


def _judge(settings: JudgeOptions, reporter: Reporter) -> Judge:
    if settings.is_user_judge:
        return make_users_judge(settings.judge)
    if settings.judge == "builtin":
        from prosafeprune.judges.builtin import BuiltinJudge

        return BuiltinJudge()
    if settings.judge == "classifier":
        from prosafeprune.judges.models.refusal_classifier import load_refusal_classifier

        return load_refusal_classifier(settings.judge_model or "", settings.judge_device)
    if settings.judge_endpoint:
        return _served(settings, settings.judge_endpoint, reporter)
    return _in_memory(settings, reporter)


def _served(settings: JudgeOptions, endpoint: str, reporter: Reporter) -> Judge:
    from prosafeprune.generation.openai_client import OpenAIClient
    from prosafeprune.judges.models.chat_model import LlmJudge
    from prosafeprune.judges.models.qwen3guard import served_qwen3guard
    from prosafeprune.judges.models.wildguard import served_wildguard

    client = OpenAIClient(endpoint, settings.judge_model, reporter=reporter)
    client.check(is_raw=settings.judge == "wildguard")
    if settings.judge == "wildguard":
        return served_wildguard(client, settings.judge_concurrency)
    if settings.judge == "qwen3guard":
        return served_qwen3guard(client, settings.judge_concurrency)
    return LlmJudge(client, concurrency=settings.judge_concurrency)


def _in_memory(settings: JudgeOptions, reporter: Reporter) -> Judge:
    from prosafeprune.judges.models import qwen3guard, wildguard
    from prosafeprune.model.loading import load_model
    from prosafeprune.model.source import find_unquantised

    is_wildguard = settings.judge == "wildguard"
    source = find_unquantised(settings.judge_model or (wildguard if is_wildguard else qwen3guard).MODEL)
    loaded = load_model(source.path, source.name, reporter, device=settings.judge_device, chat=not is_wildguard)
    return wildguard.local_wildguard(loaded) if is_wildguard else qwen3guard.local_qwen3guard(loaded)


@dataclass(frozen=True)
class UsersJudge:
    """A judge whose verdicts are checked."""

    wrapped: Judge
    source: str
    """The judge as ``module:Class``, for messages."""

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
        if len(verdicts) != len(exchanges) or not all(isinstance(verdict, Verdict) for verdict in verdicts):
            raise InputError(
                f"--judge {self.source}: must return a prosafeprune.judges.Verdict for each of "
                f"{len(exchanges)} answers."
            )
        return [self._checked(verdict) for verdict in verdicts]

    def _checked(self, verdict: Verdict) -> Verdict:
        """Return a verdict whose class may be the name of one, and whose reason may be missing."""
        try:
            found = AnswerClass(verdict.answer_class)
        except ValueError as error:
            known = ", ".join(AnswerClass)
            raise InputError(
                f"--judge {self.source}: gave the class {shown_value(verdict.answer_class)}, and there are {known}."
            ) from error
        return replace(verdict, answer_class=found, reason=str(verdict.reason or ""), harmful=self._harm(verdict))

    def _harm(self, verdict: Verdict) -> bool | None:
        """Return whether the answer is harmful, as a plain bool: numpy's is neither False itself nor JSON."""
        if verdict.harmful is None:
            return None
        if isinstance(verdict.harmful, bool | np.bool_):
            return bool(verdict.harmful)
        raise InputError(
            f"--judge {self.source}: gave harmful={shown_value(verdict.harmful)}, "
            "which is none of True, False and None."
        )


def make_users_judge(source: str) -> UsersJudge:
    """Return the judge that ``module:Class`` names, made without arguments.

    Raises:
        InputError: it cannot be imported or made, or is not a judge.
    """
    kind = import_user_class(source)
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
    return UsersJudge(made, source)
