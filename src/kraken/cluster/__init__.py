"""Who belongs to the cluster: who owns a key, who is alive. `io` asks them."""
