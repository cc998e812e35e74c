// @ts-check
/**
 * The device check: does the keyboard work; with a voice also the microphone, the
 * loudspeaker, and whether one hears the other.
 *
 * It fills in the items of the step: what worked is true.
 */
import { echoOf } from "../ducking.js";
import { CHIME_LEVEL, Loudspeaker } from "../loudspeaker.js";
import { Microphone } from "../microphone.js";
import { openAudio } from "../voice.js";
import { Form } from "./form.js";
import { button, make } from "./make.js";

/** A frame of the microphone so loud is speech; so many in a row are certain. */
const LOUD = 0.02;
const LOUD_FRAMES = 5;
/** Frames of silence, then frames around the chime, of the echo test. */
const BEFORE_FRAMES = 15;
const DURING_FRAMES = 30;

export class Device {
  /**
   * @param {{state: import("./api.js").State, texts: import("./texts.js").Texts, sound: URL,
   *   draft: Record<string, unknown>, onChange: (answers: Record<string, unknown>) => void}} given
   */
  constructor({ state, texts, sound, draft, onChange }) {
    this.texts = texts;
    this.sound = sound;
    /** @type {Record<string, boolean>} */
    this.worked = {};
    this.context = /** @type {AudioContext | null} */ (null);
    this.microphone = /** @type {Microphone | null} */ (null);
    this.speaker = /** @type {Loudspeaker | null} */ (null);
    /** Who waits for the microphone's frames. */
    this.onFrame = /** @type {((level: number) => void) | null} */ (null);
    this.onChange = () => onChange(this.answers());
    const tried = new Set(["keyboard", "microphone", "loudspeaker", "echo"]);
    this.tried = state.step.items.filter(({ key }) => tried.has(key));
    this.form = new Form(state.step.items.filter(({ key }) => !tried.has(key)), texts, draft, () => {
      this.#ask();
      this.onChange();
    });
    /** @type {Map<string, HTMLElement>} */
    this.parts = new Map(this.tried.map(({ key }) => [key, this.#part(key)]));
    this.element = make("div", "st-form", make("div", "", texts.say("device.intro")), ...this.parts.values());
    if (this.form.items.length) this.element.children[0].after(this.form.element);
    this.#ask();
  }

  stop() {
    this.microphone?.stop();
    void this.context?.close();
    this.context = null;
  }

  /** @returns {Record<string, unknown>} */
  answers() {
    const asked = this.tried.filter(({ key }) => !this.parts.get(key)?.hidden);
    return { ...this.form.answers(), ...Object.fromEntries(asked.map(({ key }) => [key, this.worked[key] ?? false])) };
  }

  /** @returns {Record<string, string>} */
  missing() {
    const missing = this.form.missing();
    for (const { key, required } of this.tried) {
      if (required && !this.worked[key] && !this.parts.get(key)?.hidden) missing[key] = this.texts.say("error.must_work");
    }
    return missing;
  }

  /** @param {Record<string, string>} items */
  explain(items) {
    this.form.explain(items);
    for (const [key, root] of this.parts) {
      const problem = /** @type {HTMLElement} */ (root.querySelector(".st-problem"));
      problem.textContent = items[key] ?? "";
      problem.hidden = !items[key];
    }
  }

  #ask() {
    const answers = this.form.answers();
    for (const { key, only_if } of this.tried) {
      const [other, ...values] = only_if;
      const part = this.parts.get(key);
      if (part) part.hidden = Boolean(other) && !values.includes(String(answers[other]));
    }
  }

  /** @param {string} key @returns {HTMLElement} */
  #part(key) {
    const problem = make("p", "st-problem");
    problem.hidden = true;
    const result = make("p", "st-result");
    result.setAttribute("role", "status");
    const root = make("div", "st-item", make("p", "st-question", this.texts.say(`device.${key}`)));
    root.dataset.item = key;
    root.append(...this.#means(key, result), result, problem);
    return root;
  }

  /** What one does about it. @param {string} key @param {HTMLElement} result @returns {HTMLElement[]} */
  #means(key, result) {
    const { texts } = this;
    switch (key) {
      case "keyboard":
        return [this.#keyboard(result)];
      case "microphone":
        return [button(texts.say("device.microphone_start"), () => void this.#hear(result))];
      case "loudspeaker":
        return [make("div", "st-row",
          button(texts.say("device.loudspeaker_start"), () => void this.#play(result)),
          button(texts.say("device.loudspeaker_yes"), () => this.#works("loudspeaker", result, texts.say("device.loudspeaker_yes"))),
        )];
      default:
        return [button(texts.say("device.echo_start"), () => void this.#echo(result))];
    }
  }

  /** @param {HTMLElement} result @returns {HTMLElement} */
  #keyboard(result) {
    const field = make("input", "st-number");
    field.autocomplete = "off";
    field.setAttribute("aria-label", this.texts.say("device.keyboard"));
    field.addEventListener("input", () => {
      if (/hello/i.test(field.value)) this.#works("keyboard", result, this.texts.say("device.keyboard_works"));
    });
    return field;
  }

  /** @param {string} key @param {HTMLElement} result @param {string} text */
  #works(key, result, text) {
    this.worked[key] = true;
    result.textContent = `✓ ${text}`;
    const problem = /** @type {HTMLElement} */ (this.parts.get(key)?.querySelector(".st-problem"));
    problem.hidden = true;
    this.onChange();
  }

  /** @param {HTMLElement} result @returns {Promise<boolean>} */
  async #listen(result) {
    try {
      this.context ??= await openAudio();
      void this.context.resume();
      this.microphone ??= new Microphone({
        onFrame: (frame) => this.onFrame?.(frame.level),
        onEnded: () => {},
        onMuted: () => {},
        onDevices: () => {},
      });
      if (!this.microphone.on) await this.microphone.start(this.context);
      return true;
    } catch {
      result.textContent = this.texts.say("device.microphone_refused");
      return false;
    }
  }

  /** @param {HTMLElement} result */
  async #hear(result) {
    if (!(await this.#listen(result))) return;
    result.textContent = this.texts.say("device.microphone_quiet");
    let loud = 0;
    this.onFrame = (/** @type {number} */ level) => {
      loud = level > LOUD ? loud + 1 : 0;
      if (loud < LOUD_FRAMES) return;
      this.onFrame = null;
      this.#works("microphone", result, this.texts.say("device.microphone_works"));
    };
  }

  /** @param {HTMLElement} result */
  async #play(result) {
    try {
      await new Audio(this.sound.href).play();
    } catch {
      result.textContent = this.texts.say("error.unexpected");
    }
  }

  /** A chime: does the microphone hear it? @param {HTMLElement} result */
  async #echo(result) {
    if (!(await this.#listen(result)) || !this.context) return;
    this.speaker ??= new Loudspeaker(this.context, () => {});
    /** @type {number[]} */
    const before = [];
    /** @type {number[]} */
    const during = [];
    this.onFrame = (/** @type {number} */ level) => {
      if (before.length < BEFORE_FRAMES) {
        before.push(level);
        if (before.length === BEFORE_FRAMES) this.speaker?.chime();
        return;
      }
      during.push(level);
      if (during.length < DURING_FRAMES) return;
      this.onFrame = null;
      const { heard } = echoOf(before, during, CHIME_LEVEL);
      if (heard) result.textContent = this.texts.say("device.echo_heard");
      else this.#works("echo", result, this.texts.say("device.echo_none"));
    };
  }
}
