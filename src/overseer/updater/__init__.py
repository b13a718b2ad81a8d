"""The updater process: it looks for releases and brings verified ones into the store. It may die any time."""
