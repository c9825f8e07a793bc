"""``python -m benchmarks.pictures [NAME ...]``: the pictures of the documents, one module each."""
