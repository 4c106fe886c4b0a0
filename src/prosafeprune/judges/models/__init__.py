"""Judge models: WildGuard, Qwen3Guard, sequence classifiers, and any chat model with XSTest's question."""
