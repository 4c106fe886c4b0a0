"""Several processes at one job, started by torchrun: one leads, the others follow."""
