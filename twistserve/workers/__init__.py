"""Several processes that serve: workers, the parent that keeps them running, and the protocol between them."""
