"""Languages: detecting the language of an answer, and its speech acts."""
