"""A corpus of bodies in the shapes that people send, and what becomes of each on four lanes.

Made by seeded code, in own words: `lines()` gives the same bodies on every run. `python -m tests.oracles.corpus` prints
what share each lane takes without a switch and with `drop_params`, by shape, and every member that went without a word.
"""
