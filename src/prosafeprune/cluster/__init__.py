"""Work given to the machines of a Ray cluster."""
