// @ts-check
/**
 * The practice: something talks on and on, and the person learns that they may break in.
 *
 * It is an exercise with a script, and says so; no model takes part in it.
 */
import { openAudio } from "../voice.js";
import { Microphone } from "../microphone.js";
import { button, make, paragraphs } from "./make.js";

/** Milliseconds a word. */
const WORD_MS = 330;
/** Words, or two signs at a time where there are no spaces between words. */
const WORDS = /[\u3000-\u9fff\uff00-\uffef]{1,2}|[^\s\u3000-\u9fff\uff00-\uffef]+\s*/g;
/** Frames of 20 ms above the level that are a word of the person. */
const LOUD_FRAMES = 8;
const LOUD = 0.03;

export class Practice {
  /**
   * @param {{state: import("./api.js").State, texts: import("./texts.js").Texts, sound: URL, onDone: () => void}} given
   */
  constructor({ state, texts, sound, onDone }) {
    this.texts = texts;
    this.sound = sound;
    this.onDone = onDone;
    this.spoken = state.way === "speech";
    this.running = false;
    this.context = /** @type {AudioContext | null} */ (null);
    this.said = make("p", "st-practice");
    this.said.setAttribute("aria-live", "polite");
    this.after = make("div", "st-after");
    this.start = button(texts.say("page.start"), () => void this.#begin(), "st-button st-main-button");
    this.element = make("div", "", ...paragraphs(texts.paragraphs("practice.intro")),
      ...paragraphs([texts.say(this.spoken ? "practice.try_speech" : "practice.try_keys")]),
      make("div", "st-row", this.start), this.said);
    if (!this.spoken) this.element.append(this.#field());
    this.element.append(this.after);
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
    this.player?.pause();
    this.microphone?.stop();
    void this.context?.close();
    this.context = null;
  }

  #field() {
    this.field = make("textarea", "st-box");
    this.field.rows = 1;
    this.field.placeholder = this.texts.say("talk.placeholder");
    this.field.setAttribute("aria-label", this.texts.say("talk.placeholder"));
    this.field.addEventListener("input", () => {
      const said = this.field?.value.trim() ?? "";
      if (/stop|停/i.test(said)) this.#interrupted();
    });
    this.field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      if (this.field?.value.trim()) this.#interrupted();
    });
    return make("div", "st-field", this.field);
  }

  async #begin() {
    this.stop();
    this.running = true;
    this.said.textContent = "";
    if (this.field) this.field.value = "";
    this.start.disabled = true;
    if (this.spoken) await this.#listen();
    const words = this.texts.say("practice.script").match(WORDS) ?? [];
    let n = 0;
    const next = () => {
      if (!this.running) return;
      if (n === words.length) return this.#nobodyStopped();
      this.said.textContent += words[n];
      n += 1;
      this.timer = setTimeout(next, WORD_MS);
    };
    next();
    this.field?.focus();
  }

  /** With a voice: it is heard, and so is the person. */
  async #listen() {
    this.player = new Audio(this.sound.href);
    let loud = 0;
    this.microphone = new Microphone({
      onFrame: ({ level }) => {
        loud = level > LOUD ? loud + 1 : 0;
        if (loud >= LOUD_FRAMES) this.#interrupted();
      },
      onEnded: () => {},
      onMuted: () => {},
      onDevices: () => {},
    });
    try {
      this.context = await openAudio();
      await this.microphone.start(this.context);
      await this.player.play();
    } catch {
      this.after.replaceChildren(...paragraphs([this.texts.say("device.microphone_refused")]));
    }
  }

  #interrupted() {
    if (!this.running) return;
    this.stop();
    this.start.disabled = false;
    this.said.textContent = `${this.said.textContent?.trimEnd()} …`;
    this.after.replaceChildren(
      make("p", "st-practice", this.texts.say("practice.stopped")),
      ...paragraphs([this.texts.say("practice.done"), this.texts.say(this.spoken ? "practice.speak" : "practice.enter")]),
    );
    this.onDone();
  }

  #nobodyStopped() {
    this.stop();
    this.start.disabled = false;
    this.after.replaceChildren(...paragraphs([this.texts.say("practice.interrupted")]));
  }
}
