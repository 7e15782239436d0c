"""Recorded sessions said again to a filter, and how its answers differ."""
