"""Batches, loss and the step loop."""
