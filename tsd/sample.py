"""``python -m tsd.sample``: the short spelling of ``python -m tsd.commands.sample``."""

from tsd.commands.sample import main

if __name__ == "__main__":
    main()
