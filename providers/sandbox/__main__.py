"""`python -m proxy_plugin.providers.sandbox`: README.md is the manual."""

if __name__ == "__main__":
    # Imported here: the spawned worker processes import this module too, and need no HTTP server.
    from proxy_plugin.providers.sandbox.host import main

    main()
