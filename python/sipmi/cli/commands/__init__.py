"""The subcommands of ``sipmi``: one module each, with ``add`` for argparse and ``run`` for the work."""
