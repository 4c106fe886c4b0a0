"""Ways to try a model: a chat in the terminal, an OpenAI-compatible server, a playground in the browser."""
