"""The registry protocol over HTTP, shared by every component that serves it."""
