"""The bytes of the milter protocol: numbers, fields, frames. No events, no I/O."""
