"""Folders and files that appear complete or not at all, and folders of resumable runs."""
