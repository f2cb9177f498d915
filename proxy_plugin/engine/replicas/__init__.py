"""One gateway of several that share a database."""
