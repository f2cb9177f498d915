"""What the README promises in figures, measured: `python -m bench` prints every table."""
