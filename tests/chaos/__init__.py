"""Chaos: many good and bad clients against a milter whose workers are killed, reloaded and stopped."""
