"""Manifests, datasets, mixing and collation."""
