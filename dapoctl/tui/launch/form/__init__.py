"""The model of the launch form: components, parameters and their values, and the command line that says the same.

Nothing here knows of textual. `parts` is what can be chosen, `fields` what each schema asks for, `choice` what was
answered, `verdict` what the resolver makes of it, `line` the same in words for a shell.
"""
