"""What a user may ask of each command, as validated objects."""
