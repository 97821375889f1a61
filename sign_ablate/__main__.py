"""`python -m sign_ablate` and the `sign-ablate` command."""

import sys

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
    app()


if __name__ == "__main__":
    main()
