"""The tracker: introduces the peers of a swarm to each other, and relays metainfo from the origins."""
