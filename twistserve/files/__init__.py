"""Static and media files."""
