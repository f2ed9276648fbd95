"""The command `heldard`, and `python -m heldard`."""

from heldard import startup


def main() -> None:
    with startup.importing():
        from heldard.cli import main as command
    command()


if __name__ == "__main__":
    main()
