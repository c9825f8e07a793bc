"""Several processes that serve: their parent, which keeps them running, and what the two say to each other."""
