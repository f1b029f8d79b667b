"""``python -m video_salmonn`` is the ``video-salmonn`` command."""

from video_salmonn.cli.main import run

if __name__ == "__main__":
    run()
