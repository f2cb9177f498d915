"""Whoever serves Anthropic's Message Batches beside Anthropic itself: another base, another proof of the account."""
