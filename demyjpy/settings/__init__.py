"""Filters that are functions of their settings: what a function takes, and what a file says."""
