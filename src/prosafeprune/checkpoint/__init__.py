"""Reading and writing weights: edited shards, and folders that appear whole or not at all."""
