"""A whole message as an immutable value: envelope, header fields and body, and what may be made of them.

Each method gives another `Message`. What was not asked to change keeps every byte: the folding of
header fields, 8-bit text, the space after the colon. `draft_of` shows `demyjpy.message.difference`
what changed. What a body is made of is in `demyjpy.message.mime`, what a header field says in
`demyjpy.message.text` and its neighbours. No I/O.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from email.feedparser import BytesFeedParser
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from typing import Any, Final, Self, TypeVar, cast, overload

from attrs import evolve, field, frozen

from demyjpy import actions as act
from demyjpy.errors import LocalProtocolError, describe
from demyjpy.events import Mail, Recipient
from demyjpy.message import mime
from demyjpy.message.addresses import MailAddress, addresses_in, encoded_address_text
from demyjpy.message.authentication import AuthenticationResults, parse_authentication_results
from demyjpy.message.content import Content, is_equal, is_there, pieces_of, read_all, size_of
from demyjpy.message.draft import Draft, shown_body
from demyjpy.message.fields import (
    Field,
    Fields,
    folded,
    header_bytes,
    new_field,
    pattern_of,
    values_of,
    with_first_only,
    with_set,
)
from demyjpy.message.mime.scan import read_header
from demyjpy.message.text import decoded_text, encoded_text
from demyjpy.message.tolerant import TOLERANT
from demyjpy.texts import bare_address
from demyjpy.wire.fields import Parameters

_T = TypeVar("_T")
_LONGEST_DOMAIN: Final = 253
_ADDRESS_FIELDS: Final = frozenset(
    prefix + name
    for prefix in ("", "resent-")
    for name in ("from", "sender", "reply-to", "to", "cc", "bcc")
)


@frozen
class Message:
    """A message: its envelope, its header fields in order, and its body.

    ``sender`` and ``recipients`` are what the filter got at MAIL and RCPT, without the recipients that
    were refused. ``fields`` are `Field` values with ``name``, ``value`` and ``raw``. ``content`` says
    where the body is; read it with ``body``, ``pieces()`` or ``bytes(message)``.
    """

    sender: str = ""
    sender_parameters: Parameters = Parameters()
    recipients: tuple[Recipient, ...] = ()
    fields: Fields = ()
    content: Content = field(default=b"", repr=False)

    @classmethod
    def of(
        cls,
        fields: Iterable[tuple[str, str]],
        content: Content = b"",
        mail: Mail | str = "",
        recipients: Iterable[Recipient | str] = (),
    ) -> Self:
        """The message as a filter gets it: names with raw texts, the body, MAIL and RCPT."""
        numbered = (Field(name, raw, number, "sent") for number, (name, raw) in enumerate(fields))
        told = mail if isinstance(mail, Mail) else Mail(mail)
        to = (Recipient(one) if isinstance(one, str) else one for one in recipients)
        return cls(told.sender, told.parameters, tuple(to), tuple(numbered), content)

    @classmethod
    def parse(
        cls, data: bytes, mail: Mail | str = "", recipients: Iterable[Recipient | str] = ()
    ) -> Self:
        """A message from its bytes, for tests and for messages in files; line ends become CRLF."""
        found = read_header(data, 0)
        fields = ((one.name, one.raw) for one in found.fields)
        return cls.of(fields, shown_body(data[found.end :]), mail, recipients)

    # ------------------------------------------------------------------------------------ to read
    @property
    def is_whole(self) -> bool:
        """Whether the body is there; False if the message is larger than ``limit=`` of the handler."""
        return is_there(self.content)

    @property
    def size(self) -> int:
        """Bytes of header and body together, also if the body was not kept."""
        return len(header_bytes(self.fields)) + 2 + size_of(self.content)

    @property
    def body(self) -> bytes:
        """The body. It is read at each use: keep it in a variable if you need it twice."""
        return read_all(self.content)

    def pieces(self) -> Iterator[bytes]:
        """All of the message in pieces: the header with its empty line, then the body."""
        yield header_bytes(self.fields) + b"\r\n"
        yield from pieces_of(self.content)

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces())

    def parsed(self) -> EmailMessage:
        """The message as Python's own `email` package sees it, to read.

        A header field that it cannot read comes as plain text. If there are more parts than `parts`
        looks at, the body comes as one text.
        """
        if "PartsNotSeen" in self.parts()[0].defects:
            return BytesHeaderParser(EmailMessage, policy=TOLERANT).parsebytes(bytes(self))
        # the annotations of the standard library know no parser with a policy of one's own
        parser: Any = BytesFeedParser(EmailMessage, policy=TOLERANT)
        for piece in self.pieces():
            parser.feed(piece)
        return cast("EmailMessage", parser.close())

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: _T) -> str | _T: ...
    def get(self, name: str, default: object = None) -> object:
        """The value of the first field of a name, folded as it is."""
        return next(values_of(self.fields, name), default)

    def get_all(self, name: str) -> tuple[str, ...]:
        """The values of all fields of a name, from the top."""
        return tuple(values_of(self.fields, name))

    # ------------------------------------------------------------------------------ header fields
    def set(self, name: str, value: str) -> Self:
        """The first field of a name gets another text; if there is none, one is added at the end."""
        return self._with_fields(with_set(self.fields, name, value))

    def set_only(self, name: str, value: str) -> Self:
        """As `set`, and the other fields of that name go."""
        return self._with_fields(with_first_only(with_set(self.fields, name, value), {folded(name)}))

    def add(self, name: str, value: str) -> Self:
        """One more field at the end of the header."""
        return self._with_fields((*self.fields, new_field(name, value)))

    def prepend(self, name: str, value: str) -> Self:
        """One more field at the top of the header, above the Received of the MTA."""
        return self._with_fields((new_field(name, value, "top"), *self.fields))

    def without(
        self, patterns: str | Iterable[str], where: Callable[[Field], object] | None = None
    ) -> Self:
        """Without the fields whose names match a shell pattern, and for which ``where`` is true.

        ``message.without("X-Spam-*")``; upper and lower case do not matter.
        """
        matches = pattern_of([patterns] if isinstance(patterns, str) else patterns).match
        left = tuple(
            one for one in self.fields if not matches(one.name) or (where is not None and not where(one))
        )
        return self._with_fields(self.fields if len(left) == len(self.fields) else left)

    def first_only(self, names: str | Iterable[str]) -> Self:
        """Without all but the first field of each of these names."""
        given = [names] if isinstance(names, str) else names
        return self._with_fields(with_first_only(self.fields, {folded(name) for name in given}))

    # -------------------------------------------------------------------------- body and envelope
    def with_body(self, data: bytes) -> Self:
        """With another body. Its line ends become CRLF, as the MTA writes it."""
        if not isinstance(data, bytes):
            raise LocalProtocolError(f"with_body: expected bytes, got {describe(data)}")
        if self.is_whole and is_equal(self.content, data):
            return self
        return evolve(self, content=shown_body(data))

    def with_sender(
        self, address: str, parameters: Mapping[str, str | None] | str | None = None
    ) -> Self:
        """With another sender; ``""`` is the null sender. Parameters as in `demyjpy.ChangeSender`."""
        edit = act.ChangeSender(address, parameters)
        if edit.address == self.sender and parameters is None:
            return self
        new = self.sender_parameters if parameters is None else edit.parameters
        return evolve(self, sender=edit.address, sender_parameters=new)

    def add_recipient(
        self, address: str, parameters: Mapping[str, str | None] | str | None = None
    ) -> Self:
        """With one more recipient; one who is there stays as he is. As in `demyjpy.AddRecipient`."""
        edit = act.AddRecipient(address, parameters)
        if any(one.address == edit.address for one in self.recipients):
            return self
        return evolve(self, recipients=(*self.recipients, Recipient(edit.address, edit.parameters)))

    def drop_recipient(self, *addresses: str) -> Self:
        """Without these recipients, in any spelling; one who is not there is no error."""
        keys = {folded(act.DeleteRecipient(address).address) for address in addresses}
        left = tuple(one for one in self.recipients if folded(_bare(one)) not in keys)
        return self if len(left) == len(self.recipients) else evolve(self, recipients=left)

    # -------------------------------------------------------------------------------- header text
    def decoded(self, name: str, default: str | None = None) -> str | None:
        """The text of the first field of a name, for people: unfolded, encoded words decoded."""
        value = self.get(name)
        return default if value is None else decoded_text(value)

    def set_decoded(self, name: str, text: str) -> Self:
        """As `set`, with a text for people: it is encoded if it has to be, and folded.

        Line breaks and other control characters become spaces. If the sender asked for SMTPUTF8, the
        text goes out as UTF-8. In a field of addresses names are encoded, and domains become ASCII.
        """
        if self.decoded(name) == text:
            return self
        is_utf8 = "SMTPUTF8" in self.sender_parameters
        encode = encoded_address_text if name.lower() in _ADDRESS_FIELDS else encoded_text
        return self.set(name, encode(name, text, is_utf8=is_utf8))

    def addresses(self, name: str) -> tuple[MailAddress, ...]:
        """The addresses in all fields of a name, from the top."""
        return tuple(one for value in self.get_all(name) for one in addresses_in(value))

    @property
    def author_domain(self) -> str:
        """The domain of the author, as in DNS: of all addresses in From, if they have only one.

        It is empty if they have none, or several, and if it is longer than a name in DNS can be (253
        characters). DKIM and DMARC go by it.
        """
        domains = {one.domain for one in self.addresses("From")}
        found = domains.pop() if len(domains) == 1 else ""
        return found if len(found) <= _LONGEST_DOMAIN else ""

    def authentication_results(self) -> tuple[AuthenticationResults, ...]:
        """What the fields Authentication-Results say, from the top (RFC 8601).

        Anybody may have written them: look at ``server``, and take out those that claim to be yours
        and came from outside.
        """
        return tuple(map(parse_authentication_results, self.get_all("Authentication-Results")))

    # --------------------------------------------------------------------------------------- MIME
    def parts(
        self, *, most: int = mime.MOST, depth: int = mime.DEPTH, unpacked: int = mime.UNPACKED
    ) -> tuple[mime.Part, ...]:
        """The parts of the message from the outside in, the message itself first.

        ``most``: of so many parts. ``depth``: so deep (100 at most). ``unpacked``: while their contents
        have so many bytes together, as they are in the mail. If more is there, the defects of the
        first part have ``"PartsNotSeen"``.
        """
        return mime.scan(self.fields, self.content, most, depth, unpacked)

    def file_names(self) -> mime.FileNames:
        """The names of all files in the message, also in zip files, and in zip files in these.

        It looks at 5,000 names, four zip files in each other, and 50 MB that are unpacked; ``unseen``
        of the result says if there may be more. It may take some tenths of a second: give a handler
        that uses it ``blocking=True``.
        """
        return mime.file_names(self.parts())

    @property
    def protection(self) -> frozenset[mime.Protection]:
        """What a change of the body would break: ``"dkim" "smime" "pgp" "inline" "encrypted"``."""
        return mime.protection_of(self.fields, self.parts())

    @property
    def is_signed(self) -> bool:
        """Whether the body is signed: DKIM, S/MIME, PGP/MIME or PGP in the text."""
        return bool(self.protection - {"encrypted"})

    @property
    def is_encrypted(self) -> bool:
        """Whether the body, or a part of it, is encrypted: S/MIME, PGP/MIME or PGP in the text."""
        return "encrypted" in self.protection

    def replace_part(
        self,
        part: mime.Part,
        content: bytes | str,
        *,
        type: str | None = None,  # noqa: A002 (what everybody calls it)
        file_name: str | None = None,
    ) -> Self:
        """With another content in a part. All other parts keep every byte.

        Without ``type`` the part keeps its header fields as far as they are true. With ``type`` its
        ``Content-`` fields are made new, also the file name. Parts of one `parts` call may be
        replaced and dropped one after the other.
        """
        return self._with_mime(mime.replace_part(self._mime, part, content, type, file_name))

    def drop_part(self, part: mime.Part) -> Self:
        """Without a part. If no other is left beside it, an empty text takes its place."""
        return self._with_mime(mime.drop_part(self._mime, part))

    def append_text(
        self,
        text: str,
        html: str | None = None,
        *,
        despite: mime.Protection | Iterable[mime.Protection] = (),
        once: bool = False,
    ) -> Self:
        """With a text at the end of the text that people read, in plain text and in HTML.

        ``html`` is made of ``text`` if it is not given. A message that is signed or encrypted stays
        as it is, except if ``despite`` names all of its `protection`. With ``once`` so does one that
        has the text already, also if it is quoted there, as in an answer.
        """
        parts = self.parts()
        if mime.protection_of(self.fields, parts) - mime.kinds_of_protection(despite):
            return self
        if once and mime.has_text(parts, text, html):
            return self
        return self._with_mime(mime.append_text(self._mime, parts, text, html))

    def attach(
        self,
        content: bytes | str,
        type: str,  # noqa: A002 (what everybody calls it)
        file_name: str | None = None,
        *,
        despite: mime.Protection | Iterable[mime.Protection] = (),
    ) -> Self:
        """With one more part at the end. As `append_text` for mail that is signed or encrypted."""
        parts = self.parts()
        if mime.protection_of(self.fields, parts) - mime.kinds_of_protection(despite):
            return self
        return self._with_mime(mime.attach(self._mime, parts, content, type, file_name))

    # ------------------------------------------------------------------------------------ helpers
    @property
    def _mime(self) -> mime.Entity:
        return mime.Entity(self.fields, self.content)

    def _with_mime(self, entity: mime.Entity) -> Self:
        if entity.content is self.content:
            return self._with_fields(entity.fields)
        return evolve(self, fields=entity.fields, content=entity.content)

    def _with_fields(self, fields: Fields) -> Self:
        return self if fields is self.fields else evolve(self, fields=fields)


def _bare(recipient: Recipient) -> str:
    """A recipient in the form in which actions have addresses."""
    return bare_address(recipient.address)


def draft_of(message: Message, since: Message | None = None) -> Draft:
    """A message as a draft for `demyjpy.message.difference`.

    ``difference(draft_of(got), draft_of(wish, got))`` are the edits that make ``wish`` of the message
    that a filter got. Header fields that were moved are an error there.
    """
    if since is None:
        return Draft(message.fields, tuple(_bare(one) for one in message.recipients))
    old, new = _recipients(since), _recipients(message)
    dropped = {address: None for address, words in old.items() if new.get(address) != words}
    added = tuple(one for one in new.items() if old.get(one[0]) != one[1])
    is_other = (message.sender, message.sender_parameters) != (since.sender, since.sender_parameters)
    given = message.sender_parameters
    if given == since.sender_parameters:  # they were not asked to change
        given = Parameters()
    return Draft(
        message.fields,
        tuple(one for one in map(_bare, since.recipients) if one not in dropped),
        added,
        tuple(dropped),
        (message.sender, given) if is_other else None,
        None if is_equal(message.content, since.content) else message.body,
    )


def _recipients(message: Message) -> dict[str, Parameters]:
    """Recipients in the form in which actions have addresses, with the parameters of the first."""
    found: dict[str, Parameters] = {}
    for one in message.recipients:
        found.setdefault(_bare(one), one.parameters)
    return found
