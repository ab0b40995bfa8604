"""Runs placed by Ray Tune, on this machine or a cluster."""
