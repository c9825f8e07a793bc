"""The code blocks of the documents: found, read, run."""
