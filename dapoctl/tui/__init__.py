"""The terminal UI: it reads the run store and writes requests; it owns no process.

`app` holds what all screens share, one folder a screen, `widgets/` what several screens draw with, `actions/` what they ask for.
Nothing outside this package imports it but `dapoctl tui`.
"""
