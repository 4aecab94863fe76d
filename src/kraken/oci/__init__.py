"""The registry protocol as plain code: names, manifests, ranges, paths, upload sessions, error codes. No I/O."""
