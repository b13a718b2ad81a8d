"""What the user's program holds: its state, its listeners, and the link to the master."""
