"""What a developer uses, and production does not."""
