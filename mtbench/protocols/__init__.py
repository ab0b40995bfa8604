"""Protocols: which runs answer a question about tasks, what each is trained on, and whose figures it serves."""
