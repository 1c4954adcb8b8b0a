"""Tuneloop's own rooms; docs/architecture.md has a paragraph for each. Nothing is imported here, so that indexing stays light."""
