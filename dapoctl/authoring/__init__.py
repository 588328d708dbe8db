"""New components: from a name and a stage to a package, or a single file, that works as it is."""
