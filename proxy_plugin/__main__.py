"""`python -m proxy_plugin`."""

from __future__ import annotations

import sys

from proxy_plugin.cli import main

sys.exit(main())
