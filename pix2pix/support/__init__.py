"""Where rooms were before they had names of their own; docs/ARCHITECTURE.md has the new ones."""
