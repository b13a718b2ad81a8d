"""A chat whose connections live across upgrades."""
