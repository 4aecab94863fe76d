"""Blobs on disk: where they lie, how they are hashed, and when they must go. `io` touches the files."""
