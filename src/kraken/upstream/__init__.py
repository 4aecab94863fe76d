"""Registries that this cluster reads from on behalf of its hosts: how one is asked, and when it is left alone."""
