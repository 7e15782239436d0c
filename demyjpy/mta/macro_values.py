"""The macros that an MTA sends with an event: which, and with what values."""

from demyjpy import events as ev
from demyjpy.codec import ROW_OF_NAME
from demyjpy.mta.milter_link import MilterLink, macros
from demyjpy.mta.profile import OwnMacros
from demyjpy.mta.smtp_session import SmtpSession


def macro_packet(
    session: SmtpSession, link: MilterLink, name: str, wanted: bool, event: ev.Event, refused: str | None
) -> tuple[bytes, ...]:
    """The macro packet of an event, if one is sent; ``wanted`` is whether the event itself is."""
    profile, listed = session.profile, session.profile.stage_of(name)
    is_declined = link.has(ROW_OF_NAME[name].off) and refused is None
    if not wanted and not profile.sends_macros_alone(name, is_declined):
        return ()
    names, stage = profile.macros.get(listed), ROW_OF_NAME[listed].stage
    if stage is not None:
        names = profile.chosen_macros(names, stage, link.macro_lists)
    if names is None:
        return ()
    values = _values(session, event, refused)
    pairs = ((spelled, values.get(spelled.strip("{}"))) for spelled in names)
    return (macros(name, tuple((spelled, value) for spelled, value in pairs if value is not None)),)


def _values(session: SmtpSession, event: ev.Event, refused: str | None) -> OwnMacros:
    """The macros that have a value at an event, by bare name."""
    profile = session.profile
    connect = profile.connect_event(session.client)
    values: OwnMacros = {
        **profile.fixed_macros(),
        "_": peer_name(session),
        "client_addr": connect.raw,
        "client_name": connect.host_name,
        "client_port": str(connect.port or 0),
    }
    if session.is_acted:
        values |= dict.fromkeys(("mail_host", "mail_mailer", "rcpt_host", "rcpt_mailer"))
    values |= dict((*session.tls, *session.auth))
    if session.is_queued and session.messages:
        values["i"] = session.queue_id
    match event:
        case ev.Mail():
            values["mail_addr"] = profile.folded(profile.address(event.sender))
        case ev.Recipient() if refused is not None:
            enhanced, _, text = refused.partition(" ")
            text = profile.refused_text(text)
            values |= {"rcpt_mailer": "error", "rcpt_host": enhanced, "rcpt_addr": text}
        case ev.Recipient():
            values["rcpt_addr"] = profile.folded(profile.address(event.address))
    return values | profile.client_macros(connect, event, session.message_id)


def peer_name(session: SmtpSession) -> str:
    """The client as the macro ``_`` has it."""
    client, address = session.client, session.profile.connect_event(session.client).raw
    if session.is_local:
        return "localhost"
    return f"{client.name} [{address}]" if client.name else session.profile.nameless(address)
