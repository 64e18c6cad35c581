"""`python -m lockgate.cli`: the same as `lockgate`."""

from lockgate.cli import main

if __name__ == "__main__":
    main()
