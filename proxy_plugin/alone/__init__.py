"""Calls that are answered at once where no proxy stands behind the gateway: chat, text, embeddings, responses."""
