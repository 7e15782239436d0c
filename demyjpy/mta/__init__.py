"""The MTA's side of the protocol, for any milter in any language.

From the bottom: `milter_packets` is what a milter's packets mean, also odd ones; `milter_link` one
connection with a milter; `stored_mail` a mail as values, `edits` what edits do to it; `client_steps`
what an SMTP client does; `profile`, `postfix` and `sendmail` (all in `profiles`) how MTAs differ;
`smtp_session` what an MTA knows, `macro_values` its macros, `consequences` what follows from an answer,
`ask_milters` who is asked, `mail_transaction` and `smtp` a whole session; all without I/O. `channel`
brings a session to a real milter over a socket. `box` is a mail server on top of it all (`dialogue`,
`smtp_protocol`, `smtp_path` and `tolerant_channel` are its parts).
How far the models agree with real servers is in ``docs/model.md``.
"""
