"""Models larger than memory: one decoder layer at a time, every byte of the checkpoint read once."""
