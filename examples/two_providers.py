"""One batch over two providers, seven lines in ten at the first, with what comes with the package alone."""

from proxy_plugin.client import Batch

batch = Batch.submit(
    [f"Count to {n}." for n in range(1, 21)],
    model="gpt-4.1-nano",  # each line names one, as at OpenAI; the targets put their own in its place
    parameters={"max_tokens": 100},
    config={
        "strategy": {"mode": "loadbalance"},
        "targets": [
            {"provider": "@openai-prod", "weight": 0.7, "override_params": {"model": "gpt-4.1-nano"}},
            {"provider": "@anthropic-prod", "weight": 0.3, "override_params": {"model": "claude-haiku-4-5"}},
        ],
    },
)
print(batch)
print(batch.wait())
for answer in batch:
    print(answer.custom_id, answer.error or answer.text)
