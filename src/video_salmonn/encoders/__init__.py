"""Frozen networks that turn encoder inputs into features, one file each; all return `Features`."""
