"""The version of mtbench, in one place: the package, its metadata and the records have it from here."""

VERSION = "0.1.0"
