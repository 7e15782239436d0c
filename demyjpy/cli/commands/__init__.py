"""The commands, a module each with all that is a command's own: arguments, help, and what it does.

A module has the command's name, and `COMMAND`, a `demyjpy.cli.arguments.Command`. That name and a line
for the help stand in `demyjpy.cli.program`, which imports the module when the command is chosen.
"""
