"""Requests as calls of the WSGI application (PEP 3333)."""
