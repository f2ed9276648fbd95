"""The command `heldard`, and `python -m heldard`."""

from heldard import startup

INTERRUPTED = 130
"""What shells expect of a program that Ctrl-C ended."""


def main() -> None:
    try:
        with startup.importing():
            from heldard.cli import main as command
    except KeyboardInterrupt:  # click, which says so in a word, is not there yet
        raise SystemExit(INTERRUPTED) from None
    command()


if __name__ == "__main__":
    main()
