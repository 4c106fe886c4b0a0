"""Several processes: torchrun, and workers on a Ray cluster."""
