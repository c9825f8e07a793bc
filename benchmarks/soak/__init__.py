"""A soak: mixed and hostile load for as long as one likes, with every answer checked (docs/soak.md)."""
