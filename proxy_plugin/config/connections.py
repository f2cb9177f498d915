"""How many connections a gateway holds open, where its configuration leaves that to it."""

from __future__ import annotations

from proxy_plugin.config.sections import Config
from proxy_plugin.ground.open_files import FileLimit, file_limit

MOST_OPEN = 2000  # 6 KB each while they say nothing; 100 KB if each downloads and does not read
LEAST_OPEN = 16
KEPT_FOR_FILES = 256  # descriptors: the database, blobs, pipes of workers, connections to providers


def most_open(config: Config, limit: FileLimit | None = None) -> int:
    """Return how many connections of clients may be open at the same time.

    One that is passed on needs a descriptor more, for its way to the upstream.
    """
    if config.connections.max_open is not None:
        return config.connections.max_open
    left = (limit or file_limit()).most - KEPT_FOR_FILES - config.limits.max_uploads
    return max(LEAST_OPEN, min(MOST_OPEN, left * 2 // 3))


def described(config: Config) -> str:
    """Return the two numbers for `proxy-plugin check`, with a doubt if they do not go together."""
    limit = file_limit()
    most = most_open(config, limit)
    raised = f"; {limit.now} until the gateway raises it" if limit.now < limit.most else ""
    doubt = "; more than there can be, with the files of the gateway" if most > limit.most - KEPT_FOR_FILES else ""
    return f"at most {most} at once{doubt}; open files at most {limit.most}{raised}"
