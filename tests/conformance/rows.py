"""What a milter library must do, row by row: the list that the tests of this directory are named after.

Side F is the filter's library, C the MTA's side, B the bytes between them. The facts are those of
libmilter, Sendmail and Postfix; where they differ, what works with all of them.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """One requirement: what happens, and what must come of it."""

    number: int
    side: str
    topic: str
    condition: str
    result: str


_TEXT = """
1 B framing | packet without payload is encoded | length 1, then the letter
2 B framing | packet arrives a byte at a time | decoded once, unchanged
3 B framing | 50 packets in one read | all decoded, in order
4 B framing | length 0 | protocol error, close
5 B framing | length over the configured maximum | error before the payload is stored, close
6 F framing | payload of 65535 bytes | accepted
7 F framing | end of stream within a packet | connection lost, no shorter packet
8 B framing | length with its top bit set | error, nothing large is allocated
9 F framing | more than 65535 bytes to write, no MDS | refused locally
10 F dispatch | unknown command letter | close
11 F dispatch | payload on T N A Q K | ignored
12 F OPTNEG | offer of version 6 with all known flags | one answer, version 6, 12 bytes and lists
13 F OPTNEG | offer of version 2 with its flags | version 2, nothing that was not offered
14 F OPTNEG | offer of version 9 with unknown flags | version 6, unknown flags not echoed
15 F OPTNEG | offer of version 0 or 1 | close without answer
16 F OPTNEG | offer shorter than 12 bytes | close
17 F OPTNEG | offer longer than 12 bytes | the rest is ignored
18 F OPTNEG | flag words of 0 | mean those of version 1: 0x0F, 0x3F
19 F OPTNEG | required action is not offered | never requested; session refused
20 F OPTNEG | optional action is not offered | not requested; its use fails locally
21 F OPTNEG | T and U cannot be switched off | bits omitted, CONTINUE if they come
22 F OPTNEG | NR_* is not offered | bit omitted, library says CONTINUE
23 F OPTNEG | SKIP, RCPT_REJ or LEADSPC is not offered | bit omitted, feature off
24 F OPTNEG | no MDS bit is offered | bits 28 to 30 never set
25 F OPTNEG | MDS is offered and wanted | bit echoed, large payload accepted
26 F OPTNEG | any command before the offer | close
27 F OPTNEG | second offer | close
28 F OPTNEG | how long an answer takes | it waits for no handler
29 F symlist | lists for stages 0 and 5 | stage number and string each, after the 12 bytes
30 F symlist | macros for end of message | end of headers gets a list, too
31 F symlist | SETSYMLIST is not offered | no lists, no bit
32 F symlist | empty list | stage number and one NUL
33 F symlist | more than 50 names | refused where it is defined
34 C symlist | unknown stage among known ones | skipped, the others count
35 C symlist | list without NUL | negotiation fails
36 C symlist | commas, tabs, several spaces | taken as separators
37 C OPTNEG | answer's version above the offer's | error
38 C OPTNEG | answer's version 2 or 3 | T and U, or T, are not sent
39 C OPTNEG | answer with an action not offered | error
40 C OPTNEG | answer with a step not offered | error, or ignored as Postfix does
41 C OPTNEG | no answer, another packet or a short one | error
42 F CONNECT | family 4 | host, address, port in network order
43 F CONNECT | family 6 with IPv6: prefix in any case | address normalised
44 F CONNECT | family 6 without prefix | accepted
45 F CONNECT | family U, nothing after it | accepted, no address
46 F CONNECT | family U, something after it | accepted, no address
47 F CONNECT | family L, with path and without | the path, or empty
48 F CONNECT | ports that contain NUL bytes | kept
49 F CONNECT | family, NUL or address missing or wrong | close
50 F CONNECT | address literals, "unknown", 8-bit host names | as they are
51 F HELO | several in a session | a handler call each
52 F HELO | empty argument | accepted
53 F HELO | no NUL | close, no stall
54 F MAIL | <> | null sender
55 F MAIL | a single NUL | null sender
56 F MAIL | address without brackets | accepted, text kept as sent
57 F MAIL | parameters with several "=", without any | cut at the first; no value
58 F MAIL | no NUL | close
59 F MAIL | last parameter without NUL | dropped
60 F RCPT | ORCPT and NOTIFY with ; and , | kept whole
61 F RCPT | recipient that the MTA refused | flagged; CONTINUE
62 F HEADER | empty value | empty text
63 F HEADER | folds and 8-bit text | every byte kept
64 F HEADER | no value, or no name | close
65 F HEADER | duplicates | kept, in order
66 F BODY | NUL bytes, CRLF cut in two | every byte kept
67 F BODY | message without body | its end is handled
68 F BODY | empty chunk | a chunk, one reply
69 F EOM | E carries a chunk | chunk, then end; one verdict
70 F EOM | E carries a chunk that is refused or accepted | one verdict
71 F EOM | handler goes on | CONTINUE after all modifications
72 F UNKNOWN | within a message | reply; the message goes on
73 F UNKNOWN | before HELO, after a message | reply
74 F MACRO | no macros in the packet | no reply, no error
75 F MACRO | for L B U A, for unknown letters | no reply, session goes on
76 F MACRO | empty payload | close, no reply
77 F MACRO | odd number of strings | last one has no value
78 F MACRO | last NUL missing | complete pairs kept
79 F MACRO | with and without braces | the same macro
80 F MACRO | same name at CONNECT and HELO | the later one from HELO on
81 F MACRO | same name at EOH and EOM | that of EOM at EOM
82 F MACRO | sent twice for a stage | replaced as a whole
83 F MACRO | second message without macros | none of the first
84 F MACRO | second recipient without macros | none of the first
85 F MACRO | after ABORT | those of CONNECT and HELO stay
86 F MACRO | new HELO | those from MAIL on go, those of CONNECT stay
87 F MACRO | for a command that was switched off | kept, in force later
88 F no-reply | D A Q K | never answered
89 F no-reply | NR_HDR and 100 headers | silence until N
90 F no-reply | verdict where NR_* was agreed | error, logged, not sent
91 F no-reply | all NR_* | only O and E are answered
92 F verdict | any command | one verdict, without payload
93 F verdict | ACCEPT at MAIL, then the next message | handled as usual
94 F verdict | REJECT at RCPT, then another | message open, second one handled
95 F verdict | ACCEPT at RCPT, then A | message over, no abort handler
96 F verdict | DISCARD at CONNECT or HELO | refused
97 F verdict | SKIP at BODY | said; E is handled
98 F verdict | SKIP elsewhere, or not agreed | refused; CONTINUE
99 F verdict | PROGRESS at EOM | any number, then the verdict
100 F verdict | PROGRESS elsewhere | refused
101 F verdict | slow handler at EOM | PROGRESS at intervals, never within or after the answer
102 F verdict | handler fails | verdict of the policy, no stall
103 F verdict | letters 4 f l | never sent
104 F modify | before EOM | local error, nothing sent
105 F modify | without its permission | local error, nothing sent
106 F modify | added header | name and value
107 F modify | inserted header | index in network order
108 F modify | empty value in m | ends in two NUL
109 F modify | index below 1 in m | refused
110 F modify | several headers of a name deleted | from the last to the first
111 F modify | name with space, colon, control, or empty | refused
112 F modify | value with CRLF | LF
113 F modify | value with NUL | refused
114 F modify | line break that starts no continuation | refused
115 F modify | LEADSPC and a value | one space put before it; raw= as it is
116 F modify | body of 140000 bytes | 65535, 65535, 8930, in a row
117 F modify | empty body | one empty packet
118 F modify | body among other changes | its packets in a row
119 F modify | address without brackets | sent with them; <> only as sender
120 F modify | no ESMTP parameters | one string
121 F modify | ESMTP parameters | second string, spaces between
122 F modify | address with CR, LF or NUL | refused
123 F modify | quarantine without reason | refused
124 F modify | several modifications | order kept
125 F REPLYCODE | code, enhanced code, text | one line, one NUL
126 F REPLYCODE | percent sign | doubled
127 F REPLYCODE | three lines | hyphens, CRLF between, one NUL
128 F REPLYCODE | code that is not 4xx or 5xx | refused
129 F REPLYCODE | enhanced code of another class | refused
130 F REPLYCODE | CR, LF or NUL in a line | refused
131 F REPLYCODE | over 980 bytes or 32 lines | refused
132 F REPLYCODE | reject with 4xx, tempfail with 5xx | refused
133 F REPLYCODE | 421 | sent as it is
134 F REPLYCODE | no text | code, space, NUL
135 F state | MAIL within a message | one abort, next message
136 F state | HELO within a message, then A A | one abort, HELO handled
137 F state | A without message | ignored
138 F state | A after the verdict at E | no abort handler
139 F state | Postfix: E A A Q | one end of message, no abort, one close
140 F state | Sendmail: M R Q | one abort, one close
141 F state | end of stream without Q | abort if in a message, close once
142 F state | nothing but the negotiation | close only
143 F state | R, B or E without M | close, no stall
144 F state | M without H | accepted
145 F state | two messages | message state new, connection state kept
146 F state | Sendmail: E M without A | handled
147 F QUIT_NC | K, then C | close; state and macros gone; agreement kept
148 F QUIT_NC | K within a message | abort, then close
149 F shutdown | stop while idle, within a message | nothing accepted; finished or closed in time
150 F timeout | nothing is said | close; default at least 7210 s
151 F timeout | nothing is read | close
152 F concurrency | 100 connections | separate state
153 C suppress | NO* agreed | command not sent
154 C suppress | NR_* agreed | reply not awaited
155 C read | PROGRESS before the verdict | timer starts anew
156 C read | modifications before the verdict | kept in order
157 C read | modifications before EOM | error
158 C read | verdict with payload | tolerated, or refused if strict
159 C read | malformed reply code | never passed on raw
160 C read | no reply | error, socket closed
161 C read | m with index 0 | the first one
162 C send | body | cut at 65535; nothing if empty
163 C send | LEADSPC off | one space off, tab stays
164 C send | folded header | LF only
165 C send | ACCEPT at C or H | nothing more
166 C send | verdict on a message | nothing more for it
167 C send | RCPT_REJ off, refused recipient | no R
168 C send | unknown command, version 2 | no U
169 C session | RSET | A if a message is open
170 B bytes | text that is not UTF-8, in any field | survives both ways
"""


def _parse(line: str) -> Row:
    head, condition, result = line.split(" | ")
    number, side, topic = head.split(" ")
    return Row(int(number), side, topic, condition, result)


ROWS = tuple(_parse(line) for line in _TEXT.strip().splitlines())
