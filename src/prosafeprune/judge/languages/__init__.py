"""Languages: which one an answer is in, and how each refuses, lacks, moralises and offers."""
