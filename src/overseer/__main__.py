"""`python -m overseer` and the script `overseer`: the command line, if what it needs is installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; never return."""
    try:
        from overseer.cli.main import cli  # noqa: PLC0415 - the core has no dependency, this has
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.stderr.write(
            f"overseer: error: the command line needs {error.name}: pip install 'pyoverseer[cli]'\n"
        )
        raise SystemExit(69) from None
    except KeyboardInterrupt:  # while all that was imported
        raise SystemExit(130) from None
    cli(prog_name="overseer")


if __name__ == "__main__":
    main()
