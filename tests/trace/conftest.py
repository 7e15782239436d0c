"""What the tests of the trace commands share."""

from tests.cli.conftest import mail, run

__all__ = ["mail", "run"]
