"""Verdicts, changes and messages for people: in words, in sentences, as HTML pages."""
