"""``python -m hwosim_assets`` is ``hwosim``."""

from hwosim_assets.cli import main

if __name__ == "__main__":  # worker processes import this module again
    main()
