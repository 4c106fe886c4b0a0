"""Models larger than memory: one decoder layer in memory at a time, every byte of the checkpoint read once."""
