"""Foreign files to this package's modules, strictly, with a report; golden files against the production modules."""
