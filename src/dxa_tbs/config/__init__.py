"""The configuration: its schema, checks and composition, and the answers to wrong settings. Never imports torch."""
