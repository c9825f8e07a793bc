"""Serve a Django project as one well-behaved Kubernetes citizen, on Twisted.

What applications may import are the names in the `__all__` of the modules below, from these modules: docs/api.md. The
package itself imports nothing, since twistd loads it to list its plugins.
"""

__all__ = ["__version__", "amqp", "logs", "middleware", "websocket"]

__version__ = "0.1.0"
