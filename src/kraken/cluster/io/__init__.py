"""The shell of the cluster engines: probes over HTTP."""
