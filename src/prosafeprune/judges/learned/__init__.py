"""The learned part of the built-in judge: features of an answer's text, and weights fitted to labelled answers."""
