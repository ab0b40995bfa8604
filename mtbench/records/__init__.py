"""The record of a run: its type, its id, reading and writing it."""
