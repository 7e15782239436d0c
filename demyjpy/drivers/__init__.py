"""The only I/O: sockets, threads, processes, signals and the log. Decisions are the engine's."""

from demyjpy.drivers.aio import AsyncServer, serve
from demyjpy.drivers.start import running, start_milter
from demyjpy.drivers.threads import ThreadServer

__all__ = ["AsyncServer", "ThreadServer", "running", "serve", "start_milter"]
