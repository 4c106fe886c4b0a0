"""The inside of a model: one analysis for each figure and table of the paper, numbers first."""
