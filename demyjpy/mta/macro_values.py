"""The macros that an MTA sends with an event: which, and with what values."""

from ipaddress import IPv4Address, IPv6Address

from demyjpy import events as ev
from demyjpy.codec import ROW_OF_NAME
from demyjpy.mta.milter_link import MilterLink, macros
from demyjpy.mta.smtp_session import SmtpSession
from demyjpy.wire.codes import Stage


def macro_packet(
    session: SmtpSession, link: MilterLink, name: str, wanted: bool, event: ev.Event, refused: str | None
) -> tuple[bytes, ...]:
    """The macro packet of an event, if one is sent; ``wanted`` is whether the event itself is."""
    profile = session.profile
    if not wanted:
        is_declined = link.has(ROW_OF_NAME[name].off) and refused is None
        if not profile.sends_macros_unasked(name) or (profile.is_postfix and not is_declined):
            return ()
    names = _names(session, link, name)
    if names is None:
        return ()
    values = _values(session, name, event, refused)
    pairs = tuple(
        (spelled, values[bare]) for spelled in names if (bare := spelled.strip("{}")) in values
    )
    return (macros(name, pairs),)


def _names(session: SmtpSession, link: MilterLink, name: str) -> tuple[str, ...] | None:
    """The macros that are due; None is no packet at all."""
    profile = session.profile
    listed = profile.stage_of(name) or name
    configured = profile.macros.get(listed)
    stage = ROW_OF_NAME[listed].stage
    if stage is None:
        return configured
    asked = link.macro_names(stage)
    if profile.is_postfix:
        return asked or configured
    if stage is Stage.EOM:
        # Sendmail looks at the list for end of headers to see whether there is one for the end.
        if link.macro_names(Stage.EOH) is None:
            return configured
        return asked or None
    return configured if asked is None else asked or None


def _values(session: SmtpSession, name: str, event: ev.Event, refused: str | None) -> dict[str, str]:
    """The macros that have a value at an event, by bare name."""
    profile, client = session.profile, session.client
    connect = profile.connect_event(client)
    values = profile.fixed_macros()
    values["_"] = peer_name(session)
    values |= {
        "client_addr": connect.raw,
        "client_name": connect.host_name,
        "client_port": str(connect.port or 0),
    }
    if session.is_acted:
        for absent in ("mail_host", "mail_mailer", "rcpt_host", "rcpt_mailer"):
            del values[absent]
    if not profile.is_postfix and _is_loopback(connect.address):
        values["if_name"] = "localhost"
        del values["if_addr"]
    values |= dict((*session.tls, *session.auth))
    if session.is_queued and session.messages:
        values["i"] = session.queue_id
    if isinstance(event, ev.Mail):
        values["mail_addr"] = profile.folded(profile.address(event.sender))
        if not event.sender and not profile.is_postfix:
            values |= {"mail_mailer": "local", "mail_host": ""}
    if isinstance(event, ev.Recipient):
        values["rcpt_addr"] = profile.folded(profile.address(event.address))
        if refused is not None:
            enhanced, _, text = refused.partition(" ")
            text = profile.refused_text(text)
            values |= {"rcpt_mailer": "error", "rcpt_host": enhanced, "rcpt_addr": text}
    if name == "end_of_message" and not profile.is_postfix:
        values["msg_id"] = session.message_id
    return values


def _is_loopback(address: ev.PeerAddress) -> bool:
    return isinstance(address, IPv4Address | IPv6Address) and address.is_loopback


def peer_name(session: SmtpSession) -> str:
    """The client as the macro ``_`` has it."""
    client, connect = session.client, session.profile.connect_event(session.client)
    if session.is_local:
        return "localhost"
    if client.name:
        return f"{client.name} [{connect.raw}]"
    return f"unknown [{connect.raw}]" if session.profile.is_postfix else f"[{connect.raw}]"
