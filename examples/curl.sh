# A batch with curl alone: one call to create it, one to see it, one to have the rows.
set -eu
key="x-portkey-api-key: $PORTKEY_API_KEY"

id=$(curl -fsS "$PROXY_PLUGIN_BASE_URL/batches" -H "$key" -H 'x-portkey-virtual-key: openai-prod' \
    -H 'content-type: application/json' -d '{
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "requests": [
            {"custom_id": "a", "body": {"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": "What is a batch?"}]}},
            {"custom_id": "b", "body": {"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": "And a lane?"}]}}
        ]
    }' | sed -n 's/.*"id": *"\(batch_[^"]*\)".*/\1/p')
echo "created $id"

until curl -fsS "$PROXY_PLUGIN_BASE_URL/batches/$id" -H "$key" \
    | grep -Eq '"status": *"(completed|failed|expired|cancelled)"'; do sleep 1; done

curl -fsS "$PROXY_PLUGIN_BASE_URL/batches/$id/output" -H "$key"
