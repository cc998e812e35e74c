// @ts-check
/**
 * Starts the page. Gradio may put the fragment into the document after this module has
 * loaded, and may put a new one there later: each `#duplex-arena` is started once.
 */
import { Arena } from "./arena.js";

/** Seconds between looks whether the fragment is still in the document. */
const LOOK_EVERY_SECONDS = 2;

function start() {
  const root = document.getElementById("duplex-arena");
  if (!root) return false;
  const arena = new Arena(root);
  arena.start();
  const timer = setInterval(() => {
    if (root.isConnected) return;
    clearInterval(timer);
    arena.stop();
    wait();
  }, LOOK_EVERY_SECONDS * 1000);
  return true;
}

function wait() {
  if (start()) return;
  const observer = new MutationObserver(() => {
    if (start()) observer.disconnect();
  });
  observer.observe(document.documentElement, { childList: true, subtree: true });
}

wait();
