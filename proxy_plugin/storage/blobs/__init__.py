"""Immutable named bytes: in local files alone, or in an object store that replicas share, with copies in local files.

Workers work on local files in either form. `publish` makes what they read later durable where it has to be, before a
row names it; `present` makes it local, before it is used; `open` reads it where it is.
"""

from proxy_plugin.storage.blobs.local import Blobs
from proxy_plugin.storage.blobs.sources import LocalSource, Source
from proxy_plugin.storage.blobs.stored import StoredBlobs

__all__ = ["Blobs", "LocalSource", "Source", "StoredBlobs"]
