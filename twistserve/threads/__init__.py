"""The threads that run requests."""
