// @ts-check
/**
 * The browser's own voice: speaks an answer's text phrase by phrase as it is shown.
 *
 * The server cannot know what of it was heard: the text paces it. `Phrases` is pure.
 */

/** Milliseconds between looks at what is due. */
const LOOK_MS = 50;
/** Words after which a phrase is spoken even without a mark. */
const LONGEST_PHRASE = 12;

/** Cuts text that grows into phrases. */
export class Phrases {
  constructor() {
    this.rest = "";
  }

  /** @param {string} text more of it @returns {string[]} the phrases that are complete */
  add(text) {
    this.rest += text;
    /** @type {string[]} */
    const phrases = [];
    for (;;) {
      const mark = /^[^.,;:?!–]*[.,;:?!–]+["”’)]?(?=\s)/.exec(this.rest)?.[0];
      const long = new RegExp(`^(?:\\s*\\S+){${LONGEST_PHRASE}}(?=\\s)`).exec(this.rest)?.[0];
      const phrase = mark && (!long || mark.length <= long.length) ? mark : long;
      if (!phrase) return phrases;
      phrases.push(phrase.trim());
      this.rest = this.rest.slice(phrase.length);
    }
  }

  /** The answer has ended. @returns {string[]} */
  end() {
    const rest = this.rest.trim();
    this.rest = "";
    return rest ? [rest] : [];
  }
}

export class BrowserVoice {
  /** @param {{now: () => number, onSpeaking: (speaking: boolean) => void}} options `now`: session seconds */
  constructor({ now, onSpeaking }) {
    this.now = now;
    this.onSpeaking = onSpeaking;
    this.phrases = new Phrases();
    /** @type {{at: number, text: string}[]} to be shown, and spoken, later */
    this.ahead = [];
    this.ended = false;
    /** Phrases that the browser has not finished. */
    this.waiting = 0;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.timer = undefined;
  }

  static get exists() {
    return "speechSynthesis" in globalThis;
  }

  /** More of the answer, to be shown at `at`. @param {number} at @param {string} text */
  add(at, text) {
    this.ended = false;
    this.ahead.push({ at, text });
    this.timer ??= setInterval(() => this.#look(), LOOK_MS);
  }

  /** Nothing follows what is still to be shown. */
  end() {
    this.ended = true;
    if (!this.ahead.length) this.#look();
  }

  /** What is not spoken yet is not spoken at all. */
  stop() {
    this.ahead = [];
    this.#rest();
    this.phrases.end();
    this.waiting = 0;
    if (BrowserVoice.exists) speechSynthesis.cancel();
    this.onSpeaking(false);
  }

  /** A spoken phrase cannot be made softer: it is held. */
  lower() {
    if (this.waiting) speechSynthesis.pause();
  }

  restore() {
    if (BrowserVoice.exists) speechSynthesis.resume();
  }

  #look() {
    const now = this.now();
    while (this.ahead.length && this.ahead[0].at <= now) {
      const [{ text }] = this.ahead.splice(0, 1);
      this.phrases.add(text).forEach((phrase) => this.#say(phrase));
    }
    if (this.ahead.length) return;
    this.#rest();
    if (this.ended) this.phrases.end().forEach((phrase) => this.#say(phrase));
  }

  #rest() {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** @param {string} phrase */
  #say(phrase) {
    if (!BrowserVoice.exists || !/[\p{L}\p{N}]/u.test(phrase)) return;
    const utterance = new SpeechSynthesisUtterance(phrase);
    utterance.lang = "en";
    const over = () => {
      this.waiting = Math.max(0, this.waiting - 1);
      if (!this.waiting) this.onSpeaking(false);
    };
    utterance.onstart = () => this.onSpeaking(true);
    utterance.onend = over;
    utterance.onerror = over;
    this.waiting += 1;
    speechSynthesis.speak(utterance);
  }
}
