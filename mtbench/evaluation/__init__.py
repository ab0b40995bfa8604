"""Metrics and run files."""
