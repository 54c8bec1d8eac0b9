"""The subcommands of ``hwosim``, one module each; they parse, call the domain code and print."""
