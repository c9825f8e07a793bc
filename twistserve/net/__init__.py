"""Sockets: the reactor and its transports, TLS, listeners. Every use of a private name of Twisted is here."""
