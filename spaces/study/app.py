"""A Space begins here, with `python app.py`: our own server with the study of the folder study/, and nothing else."""

import sys
from pathlib import Path

from webapp.cli import main
from webapp.folders import on_storage

if __name__ == "__main__":
    study = on_storage(Path(__file__).with_name("study"))
    sys.exit(main(["serve", "--host", "0.0.0.0", "--study", str(study)]))
