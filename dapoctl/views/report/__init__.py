"""The report of a study: Markdown, and one HTML file with its figures inside."""
