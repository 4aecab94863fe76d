"""Kraken: a peer-to-peer container-image registry for fleets."""

__version__ = "0.1.0"
