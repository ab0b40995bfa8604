"""The stages, the plan and the store."""
