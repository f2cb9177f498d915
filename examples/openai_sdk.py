"""The stock OpenAI SDK: a base URL and a header, and a batch runs at any provider. Here it is Anthropic's."""

import json
import os
import time

from openai import OpenAI

client = OpenAI(
    base_url=os.environ["PROXY_PLUGIN_BASE_URL"],
    api_key=os.environ["PORTKEY_API_KEY"],
    default_headers={"x-portkey-virtual-key": "anthropic-prod"},
)
lines = [
    {
        "custom_id": f"q-{n}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "claude-haiku-4-5",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": text}],
        },
    }
    for n, text in enumerate(["What is a batch?", "¿Qué es un lote?", "バッチとは?"])
]
content = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
upload = client.files.create(file=("questions.jsonl", content), purpose="batch")
batch = client.batches.create(input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h")
while batch.status not in {"completed", "failed", "expired", "cancelled"}:
    time.sleep(0.5)
    batch = client.batches.retrieve(batch.id)
print(batch.status, batch.request_counts)
if batch.output_file_id:
    for line in client.files.content(batch.output_file_id).text.splitlines():
        answer = json.loads(line)
        print(answer["custom_id"], answer["response"]["body"]["choices"][0]["message"]["content"])
