"""Upstream registries over HTTP: connections, logins, and the client itself."""
