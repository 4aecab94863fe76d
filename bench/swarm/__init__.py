"""The real swarm, each agent on a host and a link of its own, beside the simulator's forecast of it."""
