"""A base model in memory that answers many conversations at once, each under an edit at its own strength."""
