"""Recorded sessions: written, read, replayed, explained. See docs/trace.md."""

from demyjpy.errors import TraceError
from demyjpy.trace.format.exchanges import Exchange
from demyjpy.trace.format.json_context import Cut, Other
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.trace.format.privacy import Privacy
from demyjpy.trace.format.reading import Reading, load
from demyjpy.trace.format.recorded_steps import Moment
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.format.writing import write
from demyjpy.trace.live.capsule import Capsule, CapsuleMaker, load_capsule
from demyjpy.trace.live.explain_line import Explainer
from demyjpy.trace.live.flight import FlightRecorder, Triggers
from demyjpy.trace.live.recorder import Recorder, Tray
from demyjpy.trace.live.wire_recorder import WireRecorder
from demyjpy.trace.rollout.canary import canary, sender_domain
from demyjpy.trace.rollout.shadow import shadow

__all__ = [
    "Capsule",
    "CapsuleMaker",
    "Cut",
    "Exchange",
    "Explainer",
    "FlightRecorder",
    "MessageStory",
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
