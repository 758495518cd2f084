"""`python -m tokenguard`: the command line."""

from tokenguard.cli.main import main

if __name__ == "__main__":
    main()
