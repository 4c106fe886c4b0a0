"""The demo: a small model that is distributed in Python packages, made to over-refuse."""
