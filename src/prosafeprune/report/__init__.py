"""What a person reads of a run: the record, the model card, the answers behind the numbers."""
