// @ts-check
/**
 * The text box: every change becomes edits at once; sealed text leaves it.
 *
 * Works from `input` events, so that phones, dictation, paste and undo take the same way
 * as keys; while an input method composes, nothing is sent.
 */
import { cleanText, codePoints, editMessages, sealText } from "./wire.js";

/** How many texts sent are kept, to look up what the server sealed. */
const KEPT_TEXTS = 64;
/** The pace of a suggested opening, in milliseconds a character. */
const TYPING_MS = 78;

/**
 * @typedef {object} Listeners
 * @property {(messages: import("./wire.js").InputEdit[], text: string) => boolean} onEdit  false: not connected
 * @property {() => void} onEnter
 * @property {(text: string) => void} onSaid
 */

export class TypingBox {
  /** @param {HTMLTextAreaElement} box @param {Listeners} listeners */
  constructor(box, listeners) {
    this.box = box;
    this.listeners = listeners;
    /** The texts the server was sent since the last seal, the newest last. */
    this.sent = [""];
    this.composing = false;
    this.sealed = 0;
    this.heard = "";
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.typist = undefined;
    this.#listen();
  }

  /** A new session knows nothing of the text. @param {{keep: boolean}} options whether the box keeps its text */
  reset({ keep }) {
    this.sent = [""];
    this.sealed = 0;
    if (!keep) {
      this.stopTyping();
      this.box.value = "";
    }
  }

  /** Sends what changed since the last time. */
  flush() {
    if (this.composing) return;
    if (this.sealed) this.#unload();
    const value = cleanText(this.box.value);
    if (value !== this.box.value) this.#setValue(value, 0);
    const messages = editMessages(this.sent.at(-1) ?? "", value);
    if (!messages.length || !this.listeners.onEdit(messages, value)) return;
    this.sent.push(value);
    if (this.sent.length > KEPT_TEXTS) this.sent.shift();
  }

  /** The server sealed this many code points. @param {number} characters @param {string} heard the last slice's words */
  seal(characters, heard) {
    this.sealed += characters;
    this.heard = heard;
    if (!this.composing) this.#unload();
  }

  /** Types a text as a person would. @param {string} text */
  type(text) {
    this.stopTyping();
    const letters = codePoints(text);
    const next = () => {
      const letter = letters.shift();
      if (letter === undefined) {
        this.typist = undefined;
        return;
      }
      this.#setValue(this.box.value + letter, Infinity);
      this.box.dispatchEvent(new InputEvent("input", { bubbles: true, inputType: "insertText", data: letter }));
      const pause = /[\s,.?!]/.test(letter) ? 1.5 : 1;
      this.typist = setTimeout(next, TYPING_MS * pause * (0.6 + Math.random() * 0.8));
    };
    if (this.box.value && !/\s$/.test(this.box.value)) letters.unshift(" ");
    next();
  }

  stopTyping() {
    clearTimeout(this.typist);
    this.typist = undefined;
  }

  enter() {
    this.stopTyping();
    this.flush();
    this.listeners.onEnter();
  }

  #unload() {
    const characters = this.sealed;
    this.sealed = 0;
    const { said, removed } = sealText(this.sent, characters, this.heard);
    const sent = this.sent.at(-1) ?? "";
    // Only what was sent can be sealed, and the box may have changed since.
    const units = codePoints(sent).slice(0, removed).join("");
    const kept = this.box.value.startsWith(units) ? units.length : 0;
    this.sent = [sent.slice(units.length)];
    this.#setValue(this.box.value.slice(kept), -kept);
    this.listeners.onSaid(said);
  }

  /** @param {string} value @param {number} shift of the caret, in UTF-16 units; Infinity: to the end */
  #setValue(value, shift) {
    const { box } = this;
    const [start, end] = [box.selectionStart, box.selectionEnd];
    if (box.value === value) return;
    box.value = value;
    if (shift === Infinity) box.setSelectionRange(value.length, value.length);
    else box.setSelectionRange(Math.max(0, start + shift), Math.max(0, end + shift));
    box.scrollTop = box.scrollHeight;
  }

  #listen() {
    const { box } = this;
    box.addEventListener("compositionstart", () => { this.composing = true; });
    box.addEventListener("compositionend", () => {
      this.composing = false;
      this.flush();
    });
    box.addEventListener("input", () => this.flush());
    box.addEventListener("beforeinput", (event) => {
      if (event.isTrusted && event.inputType !== "insertLineBreak") this.stopTyping();
      if (event.inputType !== "insertLineBreak" && event.inputType !== "insertParagraph") return;
      event.preventDefault();
      if (!this.composing) this.enter();
    });
    box.addEventListener("keydown", (event) => {
      // 229: the key belongs to the input method, which ends its composition with it.
      if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      if (!event.repeat) this.enter();
    });
  }
}
