"""What a job needs, found and checked: prompts, model, output; the model loaded; its activations collected."""
