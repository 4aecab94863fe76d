"""The swarm: how hosts that pull a blob give its pieces on to each other.

Engines only: nothing here opens a socket or a file, reads a clock, or logs. `kraken.p2p.io` does.
"""
