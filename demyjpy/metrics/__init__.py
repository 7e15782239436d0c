"""Figures about a milter at work: counted by an observer, shown over HTTP. See docs/metrics.md."""

from demyjpy.metrics.counting import Metrics

__all__ = ["Metrics"]
