"""Pooled activations of every submodule, recorded in one forward pass."""
