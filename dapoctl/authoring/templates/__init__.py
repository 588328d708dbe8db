"""What `dapoctl plugins new` starts from: a component and its test for every kind, as real code that is checked like all other.

In what is written `Idea` becomes the class of the new component, and the import of a template the one of its package.
"""
