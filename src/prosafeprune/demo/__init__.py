"""The demo: a real small model that comes with Python packages, made over-cautious, then cured."""
