"""`python -m sign_ablate` and the `sign-ablate` command."""

import sys

#: jobs that the warm process can run, and whether they start it where there is none
_WARM = {"train": True, "aggregate": False}


def main() -> None:
    """Run the command line, or say which extra it needs."""
    if sys.argv[1:] and sys.argv[1] in _WARM:
        from sign_ablate.jobs.warm import client

        status = client.run(sys.argv[1:], start_server=_WARM[sys.argv[1]])
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
