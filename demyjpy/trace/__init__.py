"""Recorded sessions: written, read, replayed, explained. See docs/trace.md."""

from demyjpy.errors import TraceError
from demyjpy.trace.canaries import canary, sender_domain
from demyjpy.trace.capsule import Capsule, CapsuleMaker, load_capsule
from demyjpy.trace.exchanges import Exchange
from demyjpy.trace.explaining import Explainer
from demyjpy.trace.flight import FlightRecorder, Triggers
from demyjpy.trace.messages import Message
from demyjpy.trace.moments import Moment
from demyjpy.trace.privacy import Privacy
from demyjpy.trace.reading import Reading, load
from demyjpy.trace.session import Trace
from demyjpy.trace.shadowing import shadow
from demyjpy.trace.values import Cut, Other
from demyjpy.trace.writing import Recorder, Tray, WireRecorder, write

__all__ = [
    "Capsule",
    "CapsuleMaker",
    "Cut",
    "Exchange",
    "Explainer",
    "FlightRecorder",
    "Message",
    "Moment",
    "Other",
    "Privacy",
    "Reading",
    "Recorder",
    "Trace",
    "TraceError",
    "Tray",
    "Triggers",
    "WireRecorder",
    "canary",
    "load",
    "load_capsule",
    "sender_domain",
    "shadow",
    "write",
]
