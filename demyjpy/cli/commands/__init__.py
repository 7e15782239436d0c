"""The commands, a module each: its arguments and its help, and what it does.

A module has a `DESCRIPTION` and an `EPILOG` for its help, `add_arguments`, and a function of the
command's name, which gives the exit status. `demyjpy.cli.program` imports it when it is chosen.
"""
