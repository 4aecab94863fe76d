"""What can be seen from outside: the one catalogue of metrics, the one of log events, and their sinks."""
