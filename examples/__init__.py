"""Programs that show overseer at work."""
