"""The built-in suites, one file each. A file dropped here is a plugin."""
