"""report.html, the checklist and the model card."""
