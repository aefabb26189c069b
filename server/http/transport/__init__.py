"""Sockets and connections: what lies below a request."""
