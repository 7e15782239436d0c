"""Puts all `cases` to the real servers: ``python -m tests.model.record > tests/model/recorded.jsonl``.

With an argument only those whose names begin with it, to be appended.

It takes what the integration tests take: root, and the servers fetched by
``python -m tests.integration.fetch_mtas``.
"""

# ruff: noqa: T201  # its output is what it is for

import itertools
import json
import socket
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, get_args

from tests.integration.mta import DefaultAction, Server
from tests.integration.ports import free_port, wait_until
from tests.integration.running import MTAS, SERVERS
from tests.integration.scenario import Mail, ordered
from tests.integration.smtp import converse, running_sink
from tests.model.case import CONTINUE, GONE, Answers, Case, negotiation
from tests.model.cases import CASES
from tests.model.shape import first_line, show_mail, show_packet

_QUICK = socket.TCP_QUICKACK


class ScriptedMilter:
    """A milter that says what it is told, and keeps what it hears; one thread a connection."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answers: Answers = {}
        self.heard: list[list[bytes]] = []
        self._open = 0
        self._socket: socket.socket | None = None

    def start(self, answers: Answers) -> None:
        """Forget what was heard, and answer in this way."""
        self.answers, self.heard = answers, []
        if answers is None and self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None
        elif answers is not None and self._socket is None:
            self._socket = socket.create_server(("127.0.0.1", self.port), backlog=50)
            threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()

    def settle(self) -> None:
        """Wait until all connections are closed."""
        end = time.monotonic() + 5
        while self._open and time.monotonic() < end:
            time.sleep(0.005)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # nobody listens any more
            self._open += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        heard: list[bytes] = []
        self.heard.append(heard)
        try:
            with connection, connection.makefile("rb") as stream:
                self._talk(connection, stream, heard)
        except ConnectionError:
            pass
        finally:
            self._open -= 1

    def _talk(self, connection: socket.socket, stream: Any, heard: list[bytes]) -> None:
        counts: dict[str, int] = {}
        while True:
            connection.setsockopt(socket.IPPROTO_TCP, _QUICK, 1)
            length = stream.read(4)
            if len(length) < 4:
                return
            frame = stream.read(int.from_bytes(length, "big"))
            heard.append(frame)
            letter = chr(frame[0])
            if letter in "DAQ":
                continue
            count = counts[letter] = counts.get(letter, 0) + 1
            default = negotiation() if letter == "O" else CONTINUE
            answers = self.answers or {}
            answer = answers.get(f"{letter}{count - 1}", answers.get(letter, default))
            if not answer:
                connection.shutdown(socket.SHUT_RDWR)
                return
            if answer != b"-":
                connection.sendall(answer.removesuffix(GONE))
            if answer.endswith(GONE):
                return


def _main_talk(heard: list[list[bytes]]) -> list[str]:
    """What a milter heard in the session itself.

    There may be other connections: for a message that was discarded early Postfix's cleanup(8) acts a
    session of its own.
    """
    return [show_packet(one) for one in max(heard, key=len, default=[])]


def _is_notice(mail: Mail) -> bool:
    """Whether Postfix tells its postmaster of an error."""
    return mail.sender == "double-bounce@postfix.test"


def _settle(server: Server) -> None:
    """Wait for its mail; what Postfix leaves behind after an edit that it cannot make is purged."""
    try:
        wait_until(lambda: not server._waiting(), "delivery", 5)
    except TimeoutError:
        server.purge()


def _play(mta: Any, action: Any, milters: list[ScriptedMilter], cases: Iterable[Case]) -> None:
    addresses = [f"inet:{one.port}@127.0.0.1" for one in milters]
    with running_sink() as sink, SERVERS[mta](addresses, sink.port, action) as server:
        for case in cases:
            for milter, answers in zip(milters, case.answers, strict=True):
                milter.start(answers)
            replies = converse(server.port, case.steps)
            _settle(server)
            for milter in milters:
                milter.settle()
            held = server.held()
            if held:
                server.purge()
            mails = ordered(map(Mail.from_delivery, sink.take()))
            row = {
                "mta": mta,
                "case": case.name,
                "replies": [first_line(one) for one in replies],
                "packets": [_main_talk(milter.heard) for milter in milters],
                "delivered": [show_mail(mail) for mail in mails if not _is_notice(mail)],
                "held": [f"{one.sender}: {one.reason}" for one in held],
            }
            print(json.dumps(row), flush=True)
            print(mta, case.name, file=sys.stderr)


def main() -> None:
    """Record all cases with both servers, or those whose names begin with an argument."""
    start = "".join(sys.argv[1:])
    chosen = [case for case in CASES if case.name.startswith(start)]
    sites = itertools.product(MTAS, (1, 2), get_args(DefaultAction))
    for mta, count, action in sites:
        mine = [
            case
            for case in chosen
            if (len(case.answers), case.default_action) == (count, action) and mta in case.mtas
        ]
        if mine:
            _play(mta, action, [ScriptedMilter() for _ in range(count)], mine)


if __name__ == "__main__":
    main()
