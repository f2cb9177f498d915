"""What one gateway has kept in its data directory, moved to a database and a store that replicas share."""
