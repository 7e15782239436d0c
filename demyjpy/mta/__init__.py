"""The MTA's side of the protocol, for any milter in any language.

`link` is one connection with a milter, `message` what edits do to a mail, `profiles` what Postfix and
Sendmail do differently, `steps` what an SMTP client does, `smtp` a whole session; all without I/O.
`channel` brings a session to a real milter over a socket.
"""
