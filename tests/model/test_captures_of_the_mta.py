"""The models say to a milter what the real servers said, packet for packet, and reply as they did."""

import pytest

from demyjpy.mta import client_steps
from demyjpy.mta.smtp import play, take_step
from demyjpy.mta.smtp_session import new_session
from tests.model.captures import Capture, RecordedFilter, captures
from tests.model.playing import PROFILES, as_steps
from tests.model.shape import first_line, plain

ALL = [*captures()]


def play_capture(capture: Capture) -> tuple[list[str], list[str]]:
    """What the model says to the milter, and to the client."""
    milter = RecordedFilter(capture)
    session = new_session(PROFILES[capture.mta])
    client = capture.client
    name = None if client.host_name.startswith("[") else client.host_name
    address = str(client.address or "127.0.0.1")
    replies: list[str] = []
    said = [client_steps.Connect(address, name, client.port or 0), *map(as_steps, capture.steps)]
    for step in [*said, client_steps.Drop()]:
        if session.is_closed:
            break
        session, outcome = play(take_step(session, step), [milter])
        replies += [first_line(str(one)) for one in (outcome.interim, outcome.reply) if one]
    return [plain(packet.decode("latin-1")) for packet in milter.heard], replies


@pytest.mark.parametrize("capture", ALL, ids=str)
def test_packets(capture: Capture) -> None:
    """The packets are the recorded ones, with other queue ids and ports of the next hop."""
    packets, _ = play_capture(capture)
    assert packets == [plain(packet.decode("latin-1")) for packet in capture.said]


@pytest.mark.parametrize("capture", ALL, ids=str)
def test_replies(capture: Capture) -> None:
    """The client is told what it was told."""
    _, replies = play_capture(capture)
    assert replies == [*map(first_line, capture.replies)]


def test_all_are_there() -> None:
    """There are captures of both servers."""
    assert [sum(one.mta == mta for one in ALL) for mta in ("postfix", "sendmail")] == [26, 26]
