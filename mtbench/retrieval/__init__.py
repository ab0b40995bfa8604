"""BM25, encoding, search and negatives."""
