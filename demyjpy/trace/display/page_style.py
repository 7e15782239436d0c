"""How the HTML pages look: one style sheet for all of them. No page is made here.

Colours are those of Okabe and Ito, which people with any kind of colour blindness tell apart; a light
page has the light ones of them darker, so that they can be seen (WCAG 2.2, 1.4.3 and 1.4.11). No
colour says anything alone: each stands beside a sign, a word or a pattern of a line.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from demyjpy.verdicts import Fate

FATES: Final[Mapping[str, tuple[str, str, str]]] = MappingProxyType(
    {
        Fate.ACCEPTED: ("accepted", "\N{CHECK MARK}", "none"),
        Fate.QUARANTINED: ("quarantined", "\N{SQUARED PLUS}", "9 3 2 3"),
        Fate.REJECTED: ("rejected", "\N{MULTIPLICATION X}", "7 3"),
        Fate.TEMPFAILED: ("tempfailed", "\N{CLOCKWISE OPEN CIRCLE ARROW}", "2 3"),
        Fate.DISCARDED: ("discarded", "\N{EMPTY SET}", "12 4"),
    }
)
"""A fate's class in the style sheet, its sign, and the dashes of its line in a plot."""

OTHER: Final = ("other", "\N{EN DASH}", "1 4")
"""The same for every other fate, and for what is no fate."""

STYLE: Final = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b2430; --dim: #566272;
  --line: #d5dbe3; --lane: #8794a6; --link: #0062a0; --mta: #0072b2; --filter: #a5447c;
  --gone: #8f3a00; --gone-bg: #fbe7da; --new: #004f7d; --new-bg: #dcecf8; --code: #eef1f5;
  --accepted: #008a65; --rejected: #c95300; --tempfailed: #a97400; --discarded: #a5447c;
  --quarantined: #0072b2; --other: #6b7685; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1b212a; --ink: #e4e9f0; --dim: #9fadbd; --line: #343e4b;
    --lane: #66758a; --link: #7cc3f0; --mta: #56b4e9; --filter: #d998ba; --gone: #ffb27d;
    --gone-bg: #40260f; --new: #9cd3f7; --new-bg: #12324a; --code: #242c37;
    --accepted: #2fc79b; --rejected: #f07a35; --tempfailed: #e69f00; --discarded: #d998ba;
    --quarantined: #56b4e9; --other: #9fadbd; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-padding-top: 3rem; }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; line-height: 1.3; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
p { margin: .25rem 0; }
a { color: var(--link); text-underline-offset: .15em; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
:target { outline: 2px solid var(--link); outline-offset: 3px; border-radius: 4px; }
code, pre, .line { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, "Liberation Mono", monospace; }
pre { margin: .25rem 0; padding: .5rem; background: var(--code); border-radius: 4px; overflow-x: auto;
  white-space: pre-wrap; }
.dim { color: var(--dim); }
.lead { font-size: 1.1rem; margin: .25rem 0 .5rem; }
.line { padding-left: 1.1em; text-indent: -1.1em; }
del, ins { text-decoration: none; padding: 0 .25em; border-radius: 3px;
  box-decoration-break: clone; -webkit-box-decoration-break: clone; }
del { color: var(--gone); background: var(--gone-bg); }
ins { color: var(--new); background: var(--new-bg); }
details { margin: .25rem 0; }
summary { cursor: pointer; color: var(--dim); }
ul.plain { list-style: none; margin: .25rem 0; padding: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .75rem; margin: .25rem 0; }
dt { color: var(--dim); }
dd { margin: 0; min-width: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .75rem 1rem; margin: .75rem 0; }
.head { display: flex; flex-wrap: wrap; gap: .1rem .75rem; justify-content: space-between;
  align-items: baseline; }
.error { color: var(--gone); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .5rem;
  margin: 1rem 0; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .5rem .75rem; }
.figure b { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.figure.bad { border-left: 4px solid var(--rejected); }
.figure.bad b { color: var(--gone); }
.tag { font-size: .8rem; font-weight: normal; border: 1px solid var(--line); border-radius: 1em;
  padding: 0 .6em; margin-left: .5em; color: var(--dim); white-space: nowrap; }
.mark { display: inline-block; min-width: 1.3em; font-weight: 700; text-align: center; }
.accepted { --fate: var(--accepted); } .rejected { --fate: var(--rejected); }
.tempfailed { --fate: var(--tempfailed); } .discarded { --fate: var(--discarded); }
.quarantined { --fate: var(--quarantined); } .other { --fate: var(--other); }
.mark { color: var(--fate, var(--dim)); }
.fate { border-left: 4px solid var(--fate, var(--line)); }
nav { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .9rem; }
nav.pages { margin-bottom: .75rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--dim); padding-bottom: .25rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--dim); }
th.number, td.number { text-align: right; white-space: nowrap; color: inherit; }
th.number { color: var(--dim); }
th.word, td.word { white-space: nowrap; }
td.share { width: 22%; min-width: 4rem; }
.bar { display: block; width: 100%; height: .7rem; margin-top: .4em; background: var(--code); }
.bar rect { fill: var(--fate, var(--mta)); }
.chart { background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: .75rem 0;
  padding: .75rem 1.5rem .25rem 3.25rem; }
.chart > p { margin-left: -2.25rem; }
.chart > svg { display: block; width: 100%; height: 200px; overflow: visible; }
.chart text { font: 12px system-ui, "Liberation Sans", sans-serif; fill: var(--dim); }
.grid { stroke: var(--line); stroke-width: 1; }
.axis { stroke: var(--lane); stroke-width: 1; }
.curve { fill: none; stroke: var(--fate); stroke-width: 2; stroke-linejoin: round;
  vector-effect: non-scaling-stroke; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.25rem; list-style: none; margin: .25rem 0 .5rem;
  margin-left: -2.25rem; padding: 0; }
.legend svg { width: 2.2rem; height: .6rem; margin-right: .35rem; overflow: visible; }
.unit { text-align: right; margin: .25rem 0 0; }
.lanes { position: sticky; top: 0; display: flex; justify-content: space-between; font-weight: 600;
  background: var(--page); padding: .35rem 0; z-index: 1; }
.lanes :first-child { color: var(--mta); }
.lanes :last-child { color: var(--filter); }
.steps { list-style: none; margin: 0; padding: 0; border-left: 2px solid var(--mta);
  border-right: 2px solid var(--filter); }
.step { padding: .5rem 0; }
.said, .answer { position: relative; padding: 0 1rem .25rem; border-bottom: 2px solid var(--lane); }
.answer { text-align: right; border-bottom-style: dashed; }
.said::after, .answer::after { content: ""; position: absolute; bottom: -6px;
  border: 5px solid transparent; }
.said::after { right: 0; border-left: 8px solid var(--lane); border-right: 0; }
.answer::after { left: 0; border-right: 8px solid var(--lane); border-left: 0; }
.whole { padding: 0 1rem; font-size: .9em; }
.step .card { margin: .6rem 1rem .4rem 3rem; border-right: 4px solid var(--filter);
  padding: .5rem .75rem; }
.count { color: var(--dim); font-variant-numeric: tabular-nums; }
@media (max-width: 36rem) { main { padding: 1rem .75rem 2rem; } .step .card { margin-left: 1rem; }
  dl { grid-template-columns: 1fr; } dd { padding-left: .75rem; }
  .chart { padding-right: 1rem; }
  table.rows thead { position: absolute; width: 1px; height: 1px; overflow: hidden;
    clip-path: inset(50%); }
  table.rows tr { display: block; padding: .4rem 0; border-bottom: 1px solid var(--line); }
  table.rows td { display: flex; gap: .75rem; justify-content: space-between; border: 0; padding: 0;
    width: auto; text-align: left; white-space: normal; }
  table.rows td:first-child { display: block; font-weight: 600; }
  table.rows td[data-label]::before { content: attr(data-label); color: var(--dim); font-weight: 400;
    flex: none; }
  table.rows td.share { display: block; } table.rows td.share::before { display: none; } }
@media print { @page { margin: 1.5cm; } body { background: #fff; font-size: 10.5pt; }
  main { max-width: none; padding: 0; } nav { display: none; } .lanes { position: static; }
  .card, .figure, .chart, tr { break-inside: avoid; } h2, h3, .said { break-after: avoid; }
  .bar, .bar rect, del, ins { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  details:not([open]) > summary::marker { color: var(--lane); }
  a { color: inherit; text-decoration: none; } }
"""
