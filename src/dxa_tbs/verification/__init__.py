"""Whether the files of a finished run are what the run wrote. Never imports torch."""
