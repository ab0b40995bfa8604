"""What lasts on disk: the store of stages, leases, the mirror, atomic files, places."""
