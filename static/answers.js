// @ts-check
/**
 * An answer panel: what one model said, word by word, with what was never seen struck out.
 *
 * Words are only ever appended, so a screen reader reads each once.
 */
import { isSpeaking } from "./model.js";
import { medianReaction, runsOf } from "./view.js";

/** @typedef {import("./wire.js").System} System @typedef {import("./model.js").State} SessionState */

export class AnswerPanel {
  /** @param {HTMLElement} root @param {System} system */
  constructor(root, system) {
    /** @param {string} name @returns {HTMLElement} */
    const part = (name) => /** @type {HTMLElement} */ (root.querySelector(`[data-part="${name}"]`));
    this.root = root;
    this.system = system;
    this.log = part("log");
    this.empty = part("empty");
    this.status = part("status");
    this.reaction = part("reaction");
    /** @type {Map<string, HTMLElement>} */
    this.shown = new Map();
    /** Turns before this one do not change any more. */
    this.settled = 0;
  }

  clear() {
    this.log.replaceChildren();
    this.empty.hidden = false;
    this.shown.clear();
    this.settled = 0;
  }

  /** @param {SessionState} state @param {number} now session seconds */
  draw(state, now) {
    const { log } = this;
    const pinned = log.scrollTop + log.clientHeight > log.scrollHeight - 24;
    const turns = state.talk[this.system];
    let changed = false;
    for (let i = Math.min(this.settled, turns.length); i < turns.length; i += 1) {
      const turn = turns[i];
      if (turn.kind === "you") changed = this.#drawYou(turn) || changed;
      else changed = this.#drawAnswer(turn.key, turn.answer, now) || changed;
    }
    while (this.settled < turns.length - 4 && isOver(turns[this.settled], now)) this.settled += 1;
    this.empty.hidden = turns.length > 0;
    if (changed && pinned) log.scrollTop = log.scrollHeight;
    this.#drawStatus(state, now);
  }

  /** @param {{key: string, text: string}} turn */
  #drawYou({ key, text }) {
    const line = this.#line(key, "da-said-line");
    if (line.textContent === text) return false;
    line.textContent = text;
    return true;
  }

  /** @param {string} key @param {import("./model.js").Answer} answer @param {number} now */
  #drawAnswer(key, answer, now) {
    const runs = runsOf(answer, now);
    if (!runs.length) return false;
    const line = this.#line(key, "da-answer-line");
    let changed = false;
    runs.forEach((run, i) => {
      let element = /** @type {HTMLElement | undefined} */ (line.children[i]);
      if (!element) {
        element = document.createElement(run.struck ? "s" : "span");
        line.append(element);
        if (run.struck) element.title = "never seen: it was cut before it was shown";
      }
      const have = Number(element.dataset.length ?? 0);
      if (have > run.text.length) { // shown, but not heard: the sound was later than the text
        element.textContent = i === 0 ? run.text.trimStart() : run.text;
        element.dataset.length = String(run.text.length);
        changed = true;
        return;
      }
      const text = i === 0 && have === 0 ? run.text.trimStart() : run.text;
      if (have >= text.length) return;
      const word = document.createElement("span");
      word.className = "da-word";
      word.textContent = text.slice(have);
      element.append(word);
      element.dataset.length = String(i === 0 && have === 0 ? run.text.length : text.length);
      changed = true;
    });
    return changed;
  }

  /** @param {string} key @param {string} kind @returns {HTMLElement} */
  #line(key, kind) {
    let line = this.shown.get(key);
    if (!line) {
      line = document.createElement("p");
      line.className = kind;
      this.log.append(line);
      this.shown.set(key, line);
    }
    return line;
  }

  /** @param {SessionState} state @param {number} now */
  #drawStatus(state, now) {
    const speaking = isSpeaking(state, this.system, now);
    const word = this.system === "duplex"
      ? (speaking ? "speaking, and listening" : state.typing || state.sound.voice ? "listening" : "")
      : (speaking ? (state.deaf ? "speaking, deaf to you" : "speaking") : state.waiting ? (state.waiting.spoken ? "waiting until you stop" : "waiting for Enter") : "");
    if (this.status.textContent !== word) this.status.textContent = word;
    this.root.classList.toggle("da-speaking", speaking);
    const median = medianReaction(state, this.system);
    const text = median === null ? "" : `answers after ${median.toFixed(2)} s`;
    if (this.reaction.textContent !== text) this.reaction.textContent = text;
  }
}

/** @param {import("./model.js").Turn} turn @param {number} now */
function isOver(turn, now) {
  return turn.kind === "you" || (turn.answer.status !== "speaking" && turn.answer.parts.every((part) => part.at <= now));
}
