#!/usr/bin/env python3
"""The same client on a machine that has no cryptography: Ed25519 is verified in Python alone."""

from __future__ import annotations

import sys

sys.modules["cryptography"] = sys.modules["nacl"] = None  # type: ignore[assignment] # as if not installed

from tests.conformance import client  # noqa: E402 - what it imports is to see that

if __name__ == "__main__":
    sys.exit(client.main())
