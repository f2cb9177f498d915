"""Peaks of memory, measured in a process of its own: what other threads of the test runner allocate would count too."""
