"""Questions to DNS, against a real resolver: what is an answer, and what a failure."""

import asyncio
import socket
import sys

import dns.message
import dns.rcode
import pytest

from demyjpy.drivers.breaker_log import BREAKERS, Mark
from demyjpy.errors import HandlerError
from demyjpy.lookups.clients import library
from demyjpy.lookups.dns import Dns, Dnsbl, Resolver, VerifiedNames, dnsbl_name
from demyjpy.lookups.guard import UnansweredError
from demyjpy.questions import Answered, Failed, Late
from tests.lookups.servers import ask_once, need, outcome, unbound, until, with_client

pytestmark = need("unbound")

DATA = """
. NS ns.example.
a.example. A 192.0.2.2
a.example. A 192.0.2.1
a.example. AAAA 2001:db8::1
a.example. MX 20 mx2.example.
a.example. MX 10 mx1.example.
a.example. TXT "v=spf1 " "-all"
null.example. MX 0 .
spaced\\032out.example. A 192.0.2.4
ann@mail.example. A 192.0.2.5
alias.example. CNAME a.example.
xn--bcher-kva.example. A 192.0.2.3
_25._tcp.a.example. TLSA 3 1 1 ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB
_smtp._tcp.example. SRV 1 2 25 a.example.
1.2.0.192.in-addr.arpa. PTR a.example.
1.2.0.192.in-addr.arpa. PTR liar.example.
9.2.0.192.in-addr.arpa. PTR liar.example.
8.2.0.192.in-addr.arpa. PTR x.broken.
7.2.0.192.in-addr.arpa. PTR x.broken.
7.2.0.192.in-addr.arpa. PTR seven.example.
seven.example. A 192.0.2.7
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR a.example.
liar.example. A 198.51.100.1
2.0.0.127.bl.example. A 127.0.0.2
2.0.0.127.bl.example. A 127.0.0.4
bad.example.dbl.example. A 127.0.1.2
1.0.0.127.wild.example. A 198.51.100.7
1.0.0.127.deaf.example. A 127.255.255.254
"""
BROKEN = (
    'local-zone: "broken." always_transparent',
    "forward-zone:",
    'name: "broken."',
    "forward-addr: 127.0.0.2",
)


@pytest.fixture(scope="module")
def server():
    with unbound(DATA, *BROKEN) as server:
        yield server


@pytest.fixture
def ask(server):
    """What becomes of some questions, asked one after the other of one resolver; or of one."""

    def ask(*questions, within=5.0, port=server.address, **options):
        async def main(resolver):
            return [await ask_once(one, {"dns": resolver}, within) for one in questions]

        found = with_client(lambda: Resolver("127.0.0.1", port=port, **options), main)
        return found[0] if len(found) == 1 else found

    return ask


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("a.example", "A", ("192.0.2.1", "192.0.2.2")),
        ("A.Example.", "A", ("192.0.2.1", "192.0.2.2")),
        ("a.example", "AAAA", ("2001:db8::1",)),
        ("a.example", "MX", ((10, "mx1.example"), (20, "mx2.example"))),
        ("null.example", "MX", ((0, "."),)),
        ("a.example", "TXT", ("v=spf1 -all",)),
        ("alias.example", "CNAME", ("a.example",)),
        (".", "NS", ("ns.example",)),
        ("_25._tcp.a.example", "TLSA", ("3 1 1 " + "ab" * 32,)),
        ("_smtp._tcp.example", "SRV", ((1, 2, 25, "a.example"),)),
        ("bücher.example", "A", ("192.0.2.3",)),
        ("192.0.2.9", "PTR", ("liar.example",)),
        ("2001:db8::1", "PTR", ("a.example",)),
        ("9.2.0.192.in-addr.arpa", "PTR", ("liar.example",)),
        ("none.example", "A", ()),  # no such name
        ("null.example", "A", ()),  # no such record
    ],
)
def test_the_records_of_a_name(ask, name, kind, expected):
    """Each kind as plain data, in order; no such name is an answer."""
    assert ask(Dns(name, kind)) == Answered(expected)


@pytest.mark.parametrize(
    "name",
    [
        *("", "a..example", "x" * 64 + ".example", "a\\.example", "@", "a\nb", "\udcff.example", "a b"),
        ".".join(["e\u0301" * 20] * 7),  # too long to be parsed: it would be shorter than it looks
    ],
)
def test_what_cannot_be_a_name_does_not_exist(ask, name):
    """It is what a client wrote, so it is no failure; nobody is asked."""
    assert ask(Dns(name), port=9) == Answered(())


def test_a_text_that_is_too_long_for_an_address_is_not_parsed(ask):
    """It is a name at most, and one that cannot be."""
    assert ask(Dns("::1%" + ":" * 9_990, "PTR"), port=9) == Answered(())


def test_a_kind_that_is_not_known_is_an_error():
    """When the question is made."""
    with pytest.raises(ValueError, match="kind"):
        Dns("a.example", "ANY")


def test_servfail_is_a_failure_without_the_name(ask):
    """The log has it, so it holds nothing of a mail; and it says nothing against the resolver."""
    found = ask(*[Dns("secret.broken")] * 6)
    assert set(found) == {Failed("RefusedError: dns 127.0.0.1: SERVFAIL for A")}


def test_names_of_a_client_that_lead_back_to_it(ask):
    """One that leads elsewhere does not count, nor one that cannot be looked up beside a good one."""
    assert ask(
        *map(VerifiedNames, ("192.0.2.1", "2001:db8::1", "192.0.2.9", "192.0.2.7", "192.0.2.99"))
    ) == [
        *(Answered(("a.example",)), Answered(("a.example",)), Answered(())),
        *(Answered(("seven.example",)), Answered(())),
    ]
    assert isinstance(ask(VerifiedNames("192.0.2.8")), Failed)


def test_a_block_list(ask):
    """Its codes; empty for what is not listed; a domain is asked for as it is."""
    assert ask(
        Dnsbl("127.0.0.2", "bl.example"),
        Dnsbl("127.0.0.3", "bl.example"),
        Dnsbl("::1", "bl.example"),
        Dnsbl("bad.example", "dbl.example"),
    ) == [Answered(("127.0.0.2", "127.0.0.4")), Answered(()), Answered(()), Answered(("127.0.1.2",))]
    assert dnsbl_name("::1", "z").endswith("0.0.0.z")


@pytest.mark.parametrize("zone", ["wild.example", "deaf.example"])
def test_a_block_list_that_says_yes_to_all_is_a_failure(ask, zone):
    """As one does that is gone, and one that does not serve big resolvers."""
    found = ask(Dnsbl("127.0.0.1", zone))
    assert f"codes in 127.0.0.0/8 of the list {zone}, got" in found.error


def test_a_block_list_that_does_not_answer_has_a_breaker_of_its_own(ask):
    """The resolver goes on being asked for others."""
    *failed, last, other = ask(*[Dnsbl("127.0.0.1", "broken")] * 3, Dns("a.example"), most_failures=2)
    assert ["was not asked" in one.error for one in (*failed, last)] == [False, False, True]
    assert isinstance(other, Answered)


def test_a_resolver_that_is_stopped_and_goes_on(server):
    """Questions fail in time, then at once; and it is found again when it is back."""
    reader = Mark(BREAKERS)

    async def main(resolver):
        found = [await until(Answered, Dns("a.example"), {"dns": resolver})]
        with server.held():
            found += [await ask_once(Dns("a.example"), {"dns": resolver}) for _ in range(2)]
            for _ in range(200):
                if news := reader.take():
                    break
                await ask_once(Dns("a.example"), {"dns": resolver}, within=0.05)
        assert news[0].is_open
        return [*found, await until(Answered, Dns("a.example"), {"dns": resolver})]

    options = {"timeout": 0.1, "most_failures": 2, "pause": 0.05}
    first, second, third, last = with_client(
        lambda: Resolver("127.0.0.1", port=server.address, **options), main
    )
    assert isinstance(first, Answered)
    assert second == third == Failed("UnansweredError: dns 127.0.0.1: no answer within 0.1 s")
    assert last == first
    assert [one.is_open for one in reader.take()][-1:] in ([False], [])


def test_a_domain_whose_servers_are_silent_says_nothing_about_the_resolver(ask):
    """However many of its mails come."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        zone = ('local-zone: "slow." always_transparent', "do-not-query-localhost: no", "forward-zone:")
        forward = ('name: "slow."', f"forward-addr: 127.0.0.1@{silent.getsockname()[1]}")
        with unbound(DATA, *zone, *forward) as other:
            questions = [*[Dns("x.slow")] * 3, Dns("a.example")]
            *slow, last = ask(*questions, port=other.address, timeout=0.3, most_failures=2)
    assert {type(one) for one in slow} == {Failed}
    assert isinstance(last, Answered)


def test_no_resolver_at_all(ask):
    """Its port is closed: this is no answer, and says so."""
    found = ask(Dns("a.example"), port=9, timeout=0.05)
    assert found.error.startswith("UnansweredError: dns 127.0.0.1: ")
    assert ask(Dns("a.example"), port=9, within=0.0001) == Late()


def test_a_network_that_is_not_there():
    """What the system says is the failure."""

    async def main(resolver):
        return await ask_once(Dns("a.example"), {"dns": resolver})

    found = with_client(lambda: Resolver("255.255.255.255"), main)
    assert found.error.startswith("UnansweredError: dns 255.255.255.255: ")
    assert "a.example" not in found.error


class Odd(asyncio.DatagramProtocol):
    """A name server that answers all questions with a code that nobody knows what to do with."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        answer = dns.message.make_response(dns.message.from_wire(data))
        answer.set_rcode(dns.rcode.YXDOMAIN)
        self.transport.sendto(answer.to_wire(), address)


def test_an_odd_answer_is_a_refusal():
    """Its kind is told, and the name is not."""

    async def main():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Odd, ("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        async with Resolver("127.0.0.1", port=port) as resolver:
            found = await ask_once(Dns("a.example"), {"dns": resolver})
        transport.close()
        return found

    assert asyncio.run(main()) == Failed(
        "RefusedError: dns 127.0.0.1: no use of its answer for A: YXDOMAIN"
    )


def test_a_silent_name_server_is_not_waited_for_without_end():
    """Also by what asks whether it is alive."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(UnansweredError, match=r"no answer within 0\.05 s"):
            with_client(
                lambda: Resolver("127.0.0.1", port=port, timeout=0.05), lambda one: one._is_alive()
            )


def test_a_thread_can_ask(server):
    """While the loop serves others; not a resolver that is not open, and not for longer than it says.

    A macro of SPF may write a space or an ``@`` into a name, as ``exists:%{s}.example`` does.
    """

    async def main(resolver):
        def ask(name, seconds=5.0):
            return asyncio.to_thread(resolver.find_in_thread, name, "A", seconds)

        odd = [await ask(one) for one in ('a"b.example', "a\\bc.example")]
        found = (
            await ask("a.example"),
            await ask("spaced out.example"),
            await ask("ann@mail.example"),
            *odd,
        )
        with server.held(), pytest.raises(UnansweredError, match=r"no answer within 0\.05 s"):
            await ask("a.example", 0.05)
        return found, resolver

    found, resolver = with_client(lambda: Resolver("127.0.0.1", port=server.address), main)
    assert found == (("192.0.2.1", "192.0.2.2"), ("192.0.2.4",), ("192.0.2.5",), (), ())
    with pytest.raises(UnansweredError, match="nobody can ask any more: Event loop is closed"):
        resolver.find_in_thread("a.example", "A", 5)
    with pytest.raises(HandlerError, match="got one that nobody has opened: declare"):
        Resolver("127.0.0.1").find_in_thread("a.example", "A", 5)


def test_without_a_resource_the_name_servers_of_the_system_are_asked():
    """What is no name is answered without them."""
    assert outcome(Dns("a b")) == Answered(())


def test_addresses_of_name_servers_are_checked():
    """A name is none."""
    with pytest.raises(HandlerError, match="expected addresses of name servers"):
        Resolver("ns.example")


def test_a_library_that_is_not_there(monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "dns.asyncresolver", None)
    with pytest.raises(ImportError, match=r"expected dnspython to be installed.*'demyjpy\[dns\]'"):
        library("dnspython", "dns", "dns", "dns.asyncresolver")
