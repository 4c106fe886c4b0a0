"""Chat logs of a deployment: reading them, masking personal data, candidates to review, ratings of harmfulness."""
