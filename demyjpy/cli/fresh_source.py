"""Reads a filter's file each time it is loaded, and never takes Python's cache for it.

Nothing is known here of what is in the file.
"""

from importlib.machinery import SourceFileLoader
from types import CodeType


class FreshSource(SourceFileLoader):
    """A loader that compiles the file as it is now.

    Python's own one takes ``__pycache__`` for a file of the same size that was written in the same
    second (`importlib`): after an edit and SIGHUP the old filter would go on.
    """

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)
