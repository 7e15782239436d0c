"""Between an MTA and a milter in any language: bytes go through, and are recorded."""
