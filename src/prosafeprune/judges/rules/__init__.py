"""The rules: what an answer says, found by phrases and their position."""
