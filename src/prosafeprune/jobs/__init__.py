"""What each command does, from a validated request to complete files."""
