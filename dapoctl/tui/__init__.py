"""The terminal UI: it reads the run store and writes requests; it owns no process.

`app` leads from screen to screen, each of which has a folder; `session` is what they share, `widgets/` what several draw with,
`actions/` what they ask of runs. Nothing outside this package imports it but `dapoctl tui`.
"""
