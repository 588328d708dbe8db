"""The screens: one file each, or a folder where one has parts."""
