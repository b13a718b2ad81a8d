"""The release side: a repository of signed releases, its keys, and where it is kept. No service needs it."""
