"""What measures overseer and its peers: a load generator, and the comparisons made with it."""
