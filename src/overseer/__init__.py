"""Programs that restart without being noticed, upgrade themselves, and roll back when a release is bad."""
