"""Reads for people: what happened to a batch, whether it has changed, and sums over many. They change nothing."""
