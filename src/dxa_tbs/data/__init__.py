"""Who is in the cohort, what their images show, and which of them trains, validates and tests."""
