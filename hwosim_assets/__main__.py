"""``python -m hwosim_assets`` is ``hwosim``."""

from hwosim_assets.cli import main

main()
