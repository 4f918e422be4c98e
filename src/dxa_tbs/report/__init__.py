"""Tables and figures from what the runs left on disk."""
