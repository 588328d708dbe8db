"""New components: from a name and a stage to a working package or a single file."""
