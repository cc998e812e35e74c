"""A Space begins here, with `python app.py`: our own server, for Gradio's would not pass the WebSocket on."""

import os
import sys

from webapp.cli import main

#: Another one: the variable DUPLEX_MODEL of the Space.
MODEL = "xinrongzhang2022/MiniCPM-duplex"

if __name__ == "__main__":
    sys.exit(main(["serve", "--host", "0.0.0.0", "--model", os.environ.get("DUPLEX_MODEL") or MODEL]))
