"""Programs to be measured: the same one bare and under overseer, and as peers want it."""
