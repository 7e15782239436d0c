"""Mail that a local user hands in with sendmail(1)."""

import pytest

from demyjpy import AddHeader, ReplaceBody, merge_handlers, running
from tests.integration.conftest import FindSite
from tests.integration.filters import witness
from tests.integration.running import COMBINATIONS, MTAS, Socket
from tests.integration.scenario import Driver, Mta, at_end, message, with_headers

SEEN = {
    # Postfix acts a session, with addresses as it has them; Sendmail has no client to name
    "postfix": "connect 4 127.0.0.1, hello localhost, mail a@test, rcpt b@test",
    "sendmail": "connect U None, hello localhost, mail <a@test>, rcpt <b@test>",
}


@pytest.mark.parametrize(("driver", "kind"), COMBINATIONS)
@pytest.mark.parametrize("mta", MTAS)
def test_submission(find_site: FindSite, mta: Mta, driver: Driver, kind: Socket) -> None:
    """Mail from a local user is filtered like any other."""
    site = find_site(mta, kind)
    site.clear()
    edits = at_end(AddHeader("X-Edited", "yes"), ReplaceBody(b"edited\r\n"))
    with running(merge_handlers(witness(), edits), address=site.milter, driver=driver):
        site.server.submit("a@test", "b@test", message())
        delivered = site.delivered()
    seen = f"X-Seen: {SEEN[mta]}, data, Subject, eoh, body 43"
    count = "X-Count: 0 before, 0 given up"
    assert delivered == (with_headers(seen, count, "X-Edited: yes", body=b"edited\r\n"),)
