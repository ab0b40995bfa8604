"""The dual encoder and its flat parameters."""
