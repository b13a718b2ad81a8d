"""The original's example: three builds say hello."""
