"""Lines that failed in one part and go on to another: where they go, and what counts of them in the end."""
