"""Takes docs/page.png from the running page: a talk, typed key by key in a real Chromium.

.venv/bin/python scripts/screenshot.py [--dark] [--width 1280] [--out docs/page.png]
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright

from webapp.app import create_app
from webapp.serve import bind, server
from webapp.settings import Settings

#: What is typed ("\n" is Enter), and for how many seconds the talk then goes on.
TALK = (
    ("tell me about bees.\n", 7.0),
    ("wait, how is honey made?", 6.0),
    ("stop.", 1.8),
    ("what is the ", 1.5),
    ("capital of spain?", 1.2),
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("docs/page.png"))
    options.add_argument("--dark", action="store_true")
    options.add_argument("--width", type=int, default=1280)
    options.add_argument("--height", type=int, default=800)
    a = options.parse_args()
    chromium = subprocess.run(["sh", "scripts/chromium.sh"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        listener = bind("127.0.0.1", 0)
        running = server(create_app(Settings(data=Path(data))))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(
            viewport={"width": a.width, "height": a.height}, color_scheme="dark" if a.dark else "light"
        )
        page.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        page.locator("#duplex-arena textarea").click()
        for text, seconds in TALK:
            page.keyboard.type(text, delay=55)
            page.wait_for_timeout(1000 * seconds)
        page.screenshot(path=str(a.out))
        browser.close()
        running.should_exit = True
        thread.join()
    print(a.out)


if __name__ == "__main__":
    main()
