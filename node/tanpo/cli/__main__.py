"""`python -m tanpo.cli` is the `tanpo` command."""

from tanpo.cli.root import main

if __name__ == "__main__":
    main()
