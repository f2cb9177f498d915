"""The gateway inside LiteLLM: what runs in LiteLLM's own processes. Nothing of the gateway is imported there."""
