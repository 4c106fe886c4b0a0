"""Judging models: WildGuard, Qwen3Guard, sequence classifiers, and any chat model asked XSTest's question."""
