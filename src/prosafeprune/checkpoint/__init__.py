"""Reading and writing weights: edited shards and LoRA adapters."""
