"""Tells webhooks what happened in the registry, in the envelope of Docker's registry.

What is to be told is on disk before a push is answered, and stays there until the webhook has taken it: in order, at
least once, within a bound.
"""
