"""Further real media for the embedded data: out of public repositories, in the layout of the builder's sources."""
