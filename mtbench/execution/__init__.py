"""From what a user asks for to finished runs: planned, then run in this process or by Ray Tune."""
