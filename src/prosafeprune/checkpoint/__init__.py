"""Reading and writing weights: edited shards, and and LoRA adapters."""
