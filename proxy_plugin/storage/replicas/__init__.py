"""What gateways that share a database know of each other: who is there, and who has which duty."""
