"""Kept answers: what a line was answered once, and may be given again. Whatever is wrong with one makes it a miss."""
