"""The built-in multitask optimizers, one file each. A file dropped here is a plugin."""
