"""Evaluation: answers, verdicts, rates with intervals, and how they changed from the base model."""
