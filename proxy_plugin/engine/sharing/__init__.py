"""What replicas share of the bytes that steps work on."""
