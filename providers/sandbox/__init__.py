"""Stand-ins for provider services, run as a process of their own: `python -m providers.sandbox`.

They speak each provider's wire protocol over loopback HTTP, are strict about it, write down every accepted create
before anything can go wrong, and misbehave on command. `providers.sandbox.process.Sandbox` starts and steers one.
"""
