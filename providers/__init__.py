"""Adapters to model providers' native batch services. They import nothing of the gateway."""
