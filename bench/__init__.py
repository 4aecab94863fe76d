"""Benchmarks: figures with their peer or limit, measured in one run. See README.md."""
