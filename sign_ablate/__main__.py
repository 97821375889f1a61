"""`python -m sign_ablate` and the `sign-ablate` command."""

import sys

from sign_ablate import warm


def main() -> None:
    """Run the command line, or say which extra it needs."""
    if sys.argv[1:2] == ["train"]:
        status = warm.client(sys.argv[1:])
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
