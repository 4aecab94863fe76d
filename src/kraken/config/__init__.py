"""Reads settings from a YAML file and the environment, strictly, and documents them.

The settings themselves live beside the code that they tune; here is only what all of them share.
"""
