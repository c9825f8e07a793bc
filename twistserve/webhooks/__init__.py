"""What is POSTed to others when the lifecycle changes."""
