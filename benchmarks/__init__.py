"""How fast the library is: beside its peers, behind real mail servers, and in instructions.

`benchmarks.run` measures and writes ``docs/benchmarks.md``; `benchmarks.instructions` is what CI checks.
Both need the standard library only, and set up what they measure below ``BENCH_HOME``. Nothing in
``demyjpy`` may import from here.
"""
