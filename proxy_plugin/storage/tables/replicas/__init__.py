"""What replicas that share a database say to each other in rows."""
