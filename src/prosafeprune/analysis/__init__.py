"""What goes on inside a model: one analysis for each figure and table of the paper, numbers first."""
