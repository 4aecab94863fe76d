"""The origin: keeps blobs durably, copies them to their owners, and seeds them."""
