"""Translators, judged by properties."""
