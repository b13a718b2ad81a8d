"""What would stop an upgrade here: one module gathers facts, the others judge them and touch nothing."""
