"""What `dapoctl plugins new` starts from: a component and its test for every kind, as real code that is checked like any other.

In the files written, `Idea` becomes the new component's class, and the import of the template that of its package.
"""
