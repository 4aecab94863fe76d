"""The shells of storage: files, threads, and the stores made of them."""
