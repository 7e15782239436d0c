"""The MTA's side of the protocol, for any milter in any language.

From the bottom: `lenient` is what a milter's packets mean, also odd ones; `link` one connection with a
milter; `message` a mail as values, `edits` what edits do to it; `steps` what an SMTP client does;
`profile`, `postfix` and `sendmail` (all in `profiles`) what MTAs do differently; `session` what an MTA
knows, `values` its macros, `verdicts` what answers mean, `asking` who is asked, `transactions` and
`smtp` a whole session; all without I/O. `channel` brings a session to a real milter over a socket.
`box` is a mail server on top of it all (`lines`, `dialogue` and `late` are its parts).
How far the models agree with real servers is in ``docs/model.md``.
"""
