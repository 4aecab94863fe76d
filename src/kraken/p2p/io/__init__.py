"""The peer port: sockets, buffers and the driver of the swarm engines."""
