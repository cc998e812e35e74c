"""A Space begins here, with `python app.py`: our own server, for Gradio's would not pass the WebSocket on."""

import sys

from webapp.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", "--host", "0.0.0.0"]))
