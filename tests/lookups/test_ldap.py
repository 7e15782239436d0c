"""Questions to LDAP directories, against a real slapd, and servers that say anything."""

import asyncio
import ssl
from contextlib import suppress

import pytest

from demyjpy.errors import HandlerError
from demyjpy.lookups import ldap_encoding as encoding
from demyjpy.lookups.ldap import Ldap, LdapSearch
from demyjpy.questions import Answered, Failed, Late
from tests.integration.ports import free_port
from tests.lookups.certificate import CERTIFICATE, KEY
from tests.lookups.servers import ask_once, need, outcome, slapd, until, with_client
from tests.lookups.test_streams import listening

PERSON = """
dn: uid={0},dc=example,dc=org
objectClass: inetOrgPerson
uid: {0}
cn: {0}
sn: {1}
mail: {0}@example.org
title: secret
"""
ENTRIES = """dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example
""" + "".join(PERSON.format(f"u{one}", one) for one in range(6))

BASE = "dc=example,dc=org"
BY_MAIL = "(&(objectClass=person)(mail={address}))"


@pytest.fixture(scope="module")
def tls_port():
    return free_port()


@pytest.fixture(scope="module")
def server(tls_port):
    urls = f"ldaps://127.0.0.1:{tls_port}", "ldapi://{where}%2Fldapi"
    with slapd(ENTRIES, *urls, tls=(CERTIFICATE, KEY)) as server:
        yield server


def by_mail(address, *attributes, **options):
    return LdapSearch(BASE, BY_MAIL, {"address": address}, attributes, **options)


def answers(url, *questions, **options):
    """What becomes of questions that are asked one after the other."""

    async def main(ldap):
        return [await ask_once(one, {"ldap": ldap}) for one in questions]

    return with_client(lambda: Ldap(url, **options), main)


def plain(server):
    return f"ldap://127.0.0.1:{server.address}"


@need("openldap")
def test_entries_with_the_attributes_that_are_asked_for(server):
    """By the names that were asked for; empty if there is none; without any, only the entry's name."""
    attributes = {"MAIL": ("u1@example.org",), "sn": ("1",), "description": ()}
    dn = "uid=u1,dc=example,dc=org"
    assert answers(
        plain(server),
        by_mail("U1@example.ORG", "MAIL", "sn", "description"),
        by_mail("u1@example.org"),
        by_mail("nobody@example.org", "mail"),
        LdapSearch(dn, "(objectClass=*)", attributes=["cn", "+"], scope="base"),
        LdapSearch(BASE, "(uid={a}*)", {"a": "u1"}, ["uid"], scope="one"),
    )[:3] == [
        Answered(({"dn": dn, "attributes": attributes},)),
        Answered(({"dn": dn, "attributes": {}},)),
        Answered(()),
    ]


@need("openldap")
@pytest.mark.parametrize(
    "value",
    [
        "*",
        "u1*",
        "*)(uid=*",
        "u1@example.org)(|(uid=*",
        "\\2a",
        "\0",
        "\0u1*",
        "\udcff",
        "",
        "(",
    ],
)
def test_a_value_is_nothing_but_a_value(server, value):
    """Whatever a client writes, it finds no more than what is equal to it, and never fails."""
    assert answers(plain(server), by_mail(value)) == [Answered(())]


@need("openldap")
def test_what_is_refused_says_nothing_of_the_mail(server):
    """And nothing against the server; the connection is used again."""
    found = answers(
        plain(server),
        LdapSearch("dc=nowhere", "(uid={a})", {"a": "private"}),
        LdapSearch(BASE, "(uid={a}*)", {"a": ""}),
        LdapSearch("private private", "(uid=a)"),
        by_mail("u1@example.org"),
        most_failures=1,
        pool=1,
    )
    where = plain(server)
    assert found[0].error == f"RefusedError: ldap {where}: noSuchObject (32)"
    assert "a value beside * that is not empty" in found[1].error
    assert found[2].error == f"RefusedError: ldap {where}: invalidDNSyntax (34)"
    assert isinstance(found[3], Answered)


@need("openldap")
@pytest.mark.parametrize("most", [2, 100])
def test_more_entries_than_are_wanted_are_a_failure(server, most):
    """Or than the server gives, whose limit is 5."""
    (found,) = answers(plain(server), LdapSearch(BASE, "(uid=*)", most=most))
    assert f"expected at most {most} entries (most=), got more" in found.error


@need("openldap")
def test_who_logs_in_sees_more(server):
    """A wrong password is a failure, not an answer to somebody else."""
    question = by_mail("u1@example.org", "title")
    name = "cn=admin,dc=example,dc=org"
    (nobody,) = answers(plain(server), question)
    (admin,) = answers(plain(server), question, user=name, password="secret")
    (wrong,) = answers(plain(server), question, user=name, password="private")
    assert nobody.value[0]["attributes"] == {"title": ()}
    assert admin.value[0]["attributes"] == {"title": ("secret",)}
    assert wrong.error.endswith(": invalidCredentials (49)")


@need("openldap")
def test_tls_and_unix_sockets(server, tls_port):
    """A certificate that nobody has signed is refused, unless the context knows it."""
    question = by_mail("u1@example.org")
    known = ssl.create_default_context(cadata=CERTIFICATE)
    url = f"ldaps://127.0.0.1:{tls_port}"
    (good,), (bad,) = answers(url, question, tls=known), answers(url, question)
    where = server.command[server.command.index("-h") + 1].split()[-1]
    assert answers(where, question) == [good] == [Answered(good.value)]
    assert "CERTIFICATE_VERIFY_FAILED" in bad.error or "certificate verify failed" in bad.error


@need("openldap")
def test_a_server_that_crashes_comes_back(server):
    """Killed, or stopped without a word: it is found again by itself; a restart is not felt."""

    async def main(ldap):
        question, resources = by_mail("u1@example.org"), {"ldap": ldap}

        async def ask_all():
            return await asyncio.gather(*(ask_once(question, resources) for _ in range(4)))

        found = [*await ask_all()]
        server.stop()
        found.append(await until(Failed, question, resources))
        await asyncio.to_thread(server.start)
        found.append(await until(Answered, question, resources))
        await ask_all()
        server.stop()
        await asyncio.to_thread(server.start)
        found += await ask_all()
        with server.held():
            assert await ask_once(question, resources, within=0.01) == Late()
            found.append(await until(Failed, question, resources))
        return [*found, await until(Answered, question, resources)]

    options = {"timeout": 0.2, "most_failures": 2, "pause": 0.05}
    found = with_client(lambda: Ldap(plain(server), **options), main)
    good = [one for one in found if isinstance(one, Answered)]
    down, silent = (one.error for one in found if isinstance(one, Failed))
    assert len(good) == 10
    assert down.startswith("UnansweredError: ldap ldap://127.0.0.1:")
    assert "no answer within 0.2 s" in silent


# ---------------------------------------------------------------- servers that say what they like
def message(number, tag, *parts):
    return encoding.tlv(0x30, encoding.integer(number), encoding.tlv(tag, *parts))


def done(number=1, code=0):
    text = encoding.tlv(4, b"private\x1b")
    return message(number, encoding.DONE, encoding.integer(code, 0x0A), encoding.tlv(4), text)


def an_entry(number=1, size=1):
    return message(number, encoding.ENTRY, encoding.tlv(4, b"x" * size), encoding.tlv(0x30))


async def served(*replies, question=None, **options):
    """What becomes of questions, one for each reply that a server gives, each on a new connection."""
    left, question = list(replies), question or LdapSearch("", "(a=b)", most=2)

    async def meet(reader, writer):
        with suppress(OSError):
            await reader.read(1)
            writer.write(left.pop(0))
            await writer.drain()

    async with listening(meet) as address:
        port = address.partition(":")[2].partition("@")[0]
        async with Ldap(f"ldap://127.0.0.1:{port}", **options) as ldap:
            return [await ask_once(question, {"ldap": ldap}) for _ in replies]


LONG = an_entry(size=600_000)
NOTHING = encoding.tlv(0x30, encoding.tlv(4), encoding.tlv(0x31))
MANY = message(1, encoding.ENTRY, encoding.tlv(4), encoding.tlv(0x30, NOTHING * 10_000))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"", "it has closed the connection"),
        (b"\x30", "it has closed the connection"),
        (b"\x30\x84\x7f\xff\xff\xff", "an answer of at most 1048576 bytes, got more"),
        (LONG + LONG, "an answer of at most 1048576 bytes, got more"),
        (b"\x30\x80", "no answer in LDAP: expected a length of 1 to 4 bytes, got 0"),
        (b"HTTP/1.1 400\r\n", "no answer in LDAP: expected a message, got the tag 0x48"),
        (an_entry() * 3, "expected at most 2 entries"),
        (message(1, encoding.REFERENCE) * 10_001, "expected at most 10000 entries, attributes and"),
        (MANY, "RefusedError: ldap ldap://127.0.0.1:"),
        (MANY, "expected at most 10000 entries, attributes and values, got more"),
        (done(number=0, code=52), "no answer in LDAP: expected the answer to 1, got one to 0"),
        (message(1, encoding.BOUND), "no answer in LDAP: expected an entry, got the tag 0x61"),
        (done(code=51), "UnansweredError: ldap ldap://127.0.0.1:"),
        (done(code=99), "a result without a name (99)"),
        (done(code=80), "other (80)"),
    ],
)
def test_a_server_can_say_anything(reply, said):
    """It is a failure in known words, and no more is read than an answer may have."""
    (found,) = asyncio.run(served(reply))
    assert said in found.error
    assert "private" not in found.error


def test_references_to_other_servers_are_left_out():
    """What comes after them counts, and they are no entries: some servers add them to each answer."""
    others = message(1, encoding.REFERENCE) * 100
    (found,) = asyncio.run(served(others + an_entry() * 2 + others + done()))
    assert found == Answered(({"dn": "x", "attributes": {}},) * 2)


@pytest.mark.parametrize(("kind", "is_part"), [(b"Member;range=0-1499", True), (b"x;range=0-9", False)])
def test_a_part_of_the_values_is_a_failure(kind, is_part):
    """As Active Directory gives it: who looks for a member would take it for all of them."""
    values = encoding.tlv(0x30, encoding.tlv(4, kind), encoding.tlv(0x31, encoding.tlv(4, b"a")))
    group = message(1, encoding.ENTRY, encoding.tlv(4), encoding.tlv(0x30, values))
    question = LdapSearch("", "(a=b)", attributes=("member",))
    (found,) = asyncio.run(served(group + done(), question=question))
    if is_part:
        assert "expected all values of member, got a part: Member;range=0-1499" in found.error
    else:
        assert found == Answered(({"dn": "", "attributes": {"member": (), "x;range=0-9": ("a",)}},))


def test_who_logs_in_gets_an_answer_to_that():
    """Else it is no LDAP."""
    (found,) = asyncio.run(served(done(), user="cn=a", password="b"))
    assert "expected an answer to bind, got the tag 0x65" in found.error


def test_a_connection_on_which_something_came_is_not_used_again():
    """As the word with which a server closes it, or the rest of another answer."""
    goodbye = done(number=0, code=52)
    found = asyncio.run(served(done() + goodbye, done() + goodbye))
    assert found == [Answered(()), Answered(())]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: by_mail(3), "expected values= that are texts, got 3 for address"),
        (
            lambda: LdapSearch(BASE, BY_MAIL),
            "expected values= for address, as the filter says, got none",
        ),
        (lambda: LdapSearch(BASE, "(a=b)", {"x": ""}), "expected values= for nothing"),
        (lambda: LdapSearch(BASE, "a=b"), "at character 0 of the filter"),
        (lambda: by_mail("x", "mail)"), "expected attributes= as names"),
        (lambda: LdapSearch(BASE, "(a=b)", attributes="mail"), "expected attributes= as names"),
        (lambda: by_mail("x", most=0), "expected most= as a number, 1 or more, got 0"),
        (lambda: Ldap("http://x"), "expected a URL such as ldap://192.0.2.1"),
        (lambda: Ldap("ldap://x:y"), "expected a URL"),
        (lambda: Ldap("ldap://x/dc=example"), "expected a URL"),
        (lambda: Ldap("ldap://a:b@x"), "expected a URL"),
        (lambda: Ldap("ldapi://x"), "expected a URL"),
        (lambda: Ldap("ldap://x", user="cn=a"), "user= and password= together"),
        (lambda: Ldap("ldap://x", tls=ssl.create_default_context()), "tls= only with a URL of ldaps:"),
    ],
)
def test_what_cannot_be_asked_is_an_error_when_it_is_made(make, said):
    """Before anything is sent."""
    with pytest.raises(HandlerError, match=said):
        make()


def test_a_filter_without_a_directory_is_told_what_to_declare():
    """With the line to write."""
    assert 'lambda settings: Ldap("ldap://localhost")' in outcome(by_mail("x")).error


def test_an_idle_connection_that_has_ended_is_passed_over():
    """Also if that is seen only as it is taken; and one that nobody takes after all is closed."""
    closed = []

    class Ending:
        def abort(self):
            closed.append(self)

    async def main(ldap):
        ldap._idle[Ending()] = ended = asyncio.create_task(asyncio.sleep(0))
        await ended
        assert await ldap._idle_one() is None
        good, hanging = Ending(), asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        ldap._idle[good] = hanging
        taking = asyncio.create_task(ldap._idle_one())
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait((taking,))
        assert closed == [good]

    with_client(lambda: Ldap("ldap://127.0.0.1"), main)
