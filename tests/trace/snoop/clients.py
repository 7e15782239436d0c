"""Who comes to a snooper."""

import socket

from demyjpy.drivers.address import Address
from tests.cli.servers import PATIENCE


def client(address: Address) -> socket.socket:
    """A connection to it."""
    if address.kind == "unix":
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(PATIENCE)
        try:
            found.connect(address.path)
        except OSError:
            found.close()
            raise
        return found
    return socket.create_connection((address.host, address.port), PATIENCE)
