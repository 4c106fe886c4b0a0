"""The demo: a small published model that is distributed in Python packages."""
