"""Generators of the ``mini`` profiles: small invented worlds, written in the data sets' own raw formats."""
