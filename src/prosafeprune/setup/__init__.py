"""What several commands prepare: inputs found and checked, the model loaded, its activations recorded."""
