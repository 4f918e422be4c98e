"""Run folders: the only room that knows file names, identity, states and locks. Never imports torch."""
