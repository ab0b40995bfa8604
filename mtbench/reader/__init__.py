"""The reader: a sequence-to-sequence model that answers a query from the passages that were found for it."""
