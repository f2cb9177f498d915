"""Stand-ins for provider services, run as a process of their own: `python -m proxy_plugin.providers.sandbox`.

They speak each provider's wire protocol over loopback HTTP, are strict about it, write down every accepted create
before anything can go wrong, and misbehave on command. `process.Sandbox` starts and steers one.
"""
