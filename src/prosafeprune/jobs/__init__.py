"""What each command does, from a validated request to files that lie whole."""
