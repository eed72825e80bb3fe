"""`report.json` and its page."""
