"""Edits of weights: made from operators, applied in memory and undone."""
