"""Trust: what is signed of a release, and how that is verified before anything is taken."""
