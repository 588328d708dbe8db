"""The terminal UI: it reads the run store and writes requests; it owns no process.

`app` holds what all screens share, `screens/` one file or folder per screen, `widgets/` what several screens draw with.
Nothing outside this package imports it but `dapoctl tui`.
"""
