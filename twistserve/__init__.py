"""Serve a Django project as one well-behaved Kubernetes citizen, on Twisted."""

__version__ = "0.1.0"
