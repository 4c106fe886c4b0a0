"""Reading quantised checkpoints: each published layout as matrices in floating point, and as a 16-bit checkpoint."""
