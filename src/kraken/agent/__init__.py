"""The agent: on every host, the registry of its container runtime, and a peer of all the others."""
