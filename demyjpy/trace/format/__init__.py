"""What a trace file is: its records, the values in them, and what the records of a session mean."""
