"""Run folders: the only room that knows file names, columns, versions, identity and locks. Never imports torch."""
