"""`python -m sign_ablate` and the `sign-ablate` command."""

import io
import sys
from typing import NoReturn

#: commands that a warm server can run → its kind, and whether they start it if it is not running
_WARM = {"train": ("training", True), "aggregate": ("training", False), "notebook": ("notebooks", True)}


def main() -> None:
    """Run the command line, or exit with the name of the missing extra."""
    if sys.argv[1:] and sys.argv[1] in _WARM:
        from sign_ablate.jobs.warm import client

        kind, start_server = _WARM[sys.argv[1]]
        if sys.argv[1] == "aggregate":  # notebooks come next; their server imports while the tables are made
            client.start_ahead("notebooks")
        status = client.run(sys.argv[1:], kind, start_server=start_server)
        if status is not None:
            sys.exit(status)
    try:
        from sign_ablate.cli import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "sign_ablate":
            raise
        sys.exit(f"sign-ablate: {error.name} is not installed: pip install 'sign-ablate[pipeline]'")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no ± shows the table without it
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # at the end of Python, an error would be a traceback
    except OSError as error:
        _fail(error)


def _fail(error: OSError) -> NoReturn:
    """Exit with a line for an error that no command handles, mostly of standard output; silent for a pipe."""
    from sign_ablate.files import advice
    from sign_ablate.jobs.log import complain, discard

    discard(sys.stdout)
    if not isinstance(error, BrokenPipeError):
        place = "standard output: " if error.filename is None and error.errno is not None else ""
        complain(f"sign-ablate: error: {place}{error}{advice(error)}")
    sys.exit(1)


if __name__ == "__main__":
    main()
