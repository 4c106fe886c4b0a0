"""The search for a plan: all are scored by short answers, a few measured by full-length ones, under a safety floor."""
