"""The version of overseer: one line, read by the package, the master and the build."""

VERSION = "0.1.0"
