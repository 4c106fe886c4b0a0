"""The judge that settings name, ready to be asked."""

from __future__ import annotations

from prosafeprune.errors import InputError
from prosafeprune.judge.verdict import Judge
from prosafeprune.progress import Reporter
from prosafeprune.requests.judging import JudgeOptions


def make_judge(settings: JudgeOptions, reporter: Reporter) -> Judge:
    """Return the judge, ready to be asked: its server has been tried, or its model is in memory.

    Raises:
        InputError: the settings do not fit together, the server cannot be used, or the model cannot be loaded.
    """
    if settings.judge == "builtin":
        if settings.judge_endpoint or settings.judge_model:
            raise InputError("The builtin judge needs no endpoint and no model. Choose --judge llm or wildguard.")
        from prosafeprune.judge.rules.rules_judge import RulesJudge

        return RulesJudge()
    if settings.judge == "llm" and not settings.judge_endpoint:
        raise InputError("--judge llm needs a server to ask. Give its URL with --judge-endpoint.")
    if settings.judge_endpoint:
        return _served_judge(settings, settings.judge_endpoint, reporter)
    return _wildguard_in_memory(settings, reporter)


def _served_judge(settings: JudgeOptions, endpoint: str, reporter: Reporter) -> Judge:
    from prosafeprune.generation.openai_client import OpenAIClient
    from prosafeprune.judge.models.chat_model import LlmJudge
    from prosafeprune.judge.models.wildguard import served_wildguard

    client = OpenAIClient(endpoint, settings.judge_model, reporter=reporter)
    client.check(is_raw=settings.judge == "wildguard")
    if settings.judge == "wildguard":
        return served_wildguard(client, settings.judge_concurrency)
    return LlmJudge(client, concurrency=settings.judge_concurrency)


def _wildguard_in_memory(settings: JudgeOptions, reporter: Reporter) -> Judge:
    from prosafeprune.judge.models.wildguard import MODEL, local_wildguard
    from prosafeprune.model.loading import load_model
    from prosafeprune.model.source import find_source

    source = find_source(settings.judge_model or MODEL)
    if source.is_gguf:
        raise InputError(f"{source.name}: WildGuard is read from a folder. Serve the GGUF and give --judge-endpoint.")
    return local_wildguard(load_model(source.path, source.name, reporter, device=settings.judge_device, chat=False))
