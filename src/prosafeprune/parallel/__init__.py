"""Several processes: those of torchrun, and workers on a Ray cluster."""
