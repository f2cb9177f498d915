"""`files`, `models` and `webhooks`: what a gateway keeps beside batches, listed, fetched and taken away."""
