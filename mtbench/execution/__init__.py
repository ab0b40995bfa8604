"""Where runs are carried out: in this process or by Ray Tune."""
