"""Commands: one file each; :mod:`video_salmonn.cli.main` is the table of them."""
