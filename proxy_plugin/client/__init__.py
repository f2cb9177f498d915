"""Batches from Python, over HTTP alone: what `proxy-plugin batch` does, for notebooks and scripts.

    from proxy_plugin.client import Batch

    batch = Batch.submit(["What is a batch?"], model="gpt-4.1-nano", virtual_key="openai-prod")
    await batch                      # in a script: batch.wait()
    for answer in batch:
        print(answer.custom_id, answer.text)

It needs no package of the server's; `pip install proxy-plugin-client` has it alone.
"""

from __future__ import annotations

from proxy_plugin.client.answers import LineAnswer
from proxy_plugin.client.batch import Batch
from proxy_plugin.commands.problems import CommandError, Misuse, Refused, Unreachable

__all__ = ["Batch", "CommandError", "LineAnswer", "Misuse", "Refused", "Unreachable"]
