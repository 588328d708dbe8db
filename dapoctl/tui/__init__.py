"""The terminal UI: it reads the run store and writes requests; it owns no process.

`app` holds what all screens share. Each screen has a folder; `widgets/` is what several screens draw with, `actions/` what they
ask for.
Nothing outside this package imports it but `dapoctl tui`.
"""
