"""Who is let in: TLS contexts and how long their certificates last."""
