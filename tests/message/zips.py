"""Zip files for tests, as filters may get them. Only how one is made is here."""

import io
from zipfile import ZIP_DEFLATED, ZipFile


def zipped(*members: tuple[str, bytes], kind: int = ZIP_DEFLATED, flags: int = 0) -> bytes:
    """A zip file."""
    file = io.BytesIO()
    with ZipFile(file, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)
            archive.infolist()[-1].flag_bits |= flags
    return file.getvalue()
