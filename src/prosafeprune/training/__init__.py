"""Short low-rank fine-tuning of a model in memory; what it learned comes back as edits, and the model is unchanged."""
