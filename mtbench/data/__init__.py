"""Readers of raw formats and the prepared form."""
