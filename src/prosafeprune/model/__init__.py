"""Models: loading, chat format, the submodules of a decoder, forward passes."""
