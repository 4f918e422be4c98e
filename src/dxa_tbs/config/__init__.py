"""The configuration: its schema, checks, composition, and answers to wrong settings. Never imports torch."""
