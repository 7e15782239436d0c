"""Bytes that nobody would think of: for the decoder, the engine and the negotiation."""
