"""The test of each template: the conformance kit, and the component's formula against numbers worked out by hand."""
