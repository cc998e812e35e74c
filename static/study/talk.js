// @ts-check
/**
 * A talk with one partner: the topic, what both said, and the field or the microphone.
 *
 * Blind: nothing on this page depends on which system the partner is. What was typed leaves
 * the field at Enter, when the partner begins a new answer, or when nothing was typed for a
 * while; never because a slice closed.
 */
import { SessionClock } from "../clock.js";
import { TypingBox } from "../typing.js";
import { Voice } from "../voice.js";
import { codePoints } from "../wire.js";
import { Line } from "./line.js";
import { button, make, paragraphs } from "./make.js";
import { Partner } from "./partner.js";

/** Milliseconds without a key after which what stands in the field was said. */
const REST_MS = 6000;
/** Who typed so lately is in the middle of a word. */
const TYPING_MS = 700;
/** What the voice's notes are called in the study's words; the others are shown as they are. */
const NOTES = /** @type {Record<string, string>} */ ({ microphone: "device.microphone_refused", headphones: "device.echo_heard" });

/** @returns {number} seconds */
const localTime = () => performance.now() / 1000;

/**
 * @typedef {object} Given
 * @property {import("./api.js").State} state
 * @property {import("./texts.js").Texts} texts
 * @property {URL} url of the WebSocket, with the token
 * @property {() => void} onFinish  the person ends the talk
 * @property {(text: string) => void} onTrouble  "" takes it away
 * @property {(code: string) => void} onRefused  the server thinks they are elsewhere
 * @property {(kind: string, detail: unknown) => void} note
 */

export class Talk {
  /** @param {Given} given */
  constructor(given) {
    this.given = given;
    const { state, texts } = given;
    this.spoken = state.way === "speech";
    this.talked = /** @type {import("./api.js").Talked} */ (state.talk);
    this.partner = new Partner();
    this.clock = new SessionClock();
    this.running = true;
    this.lastKey = 0;
    /** Which answers this session had before: they stay when it is opened again. */
    this.session = 0;
    /** @type {Map<string, HTMLElement>} */
    this.lines = new Map();
    this.heard = "";
    /** Where what is being recognised stands. */
    this.spokenText = /** @type {HTMLElement | null} */ (null);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.resting = undefined;
    this.element = make("div", "st-talk");
    this.needed = make("p", "st-needed");
    this.needed.setAttribute("role", "status");
    this.finish = button(texts.say("talk.finish"), () => given.onFinish());
    this.#drawBefore();
  }

  stop() {
    this.running = false;
    clearTimeout(this.resting);
    this.line?.close();
    this.voice?.stop();
  }

  /** The topic, and a button to begin: there is time to read. */
  #drawBefore() {
    const { state, texts } = this.given;
    const needed = texts.say("talk.needed", { seconds: this.talked.needed_seconds, turns: this.talked.needed_turns });
    const begin = button(texts.say("talk.begin"), () => this.#begin(), "st-button st-main-button");
    this.element.replaceChildren(
      this.#card(),
      ...paragraphs([needed, texts.say("talk.no_personal"), state.texts["talk.note"] ?? ""].filter(Boolean)),
      ...paragraphs([texts.say(this.spoken ? "practice.speak" : "practice.enter")]),
      make("div", "st-row", begin),
    );
  }

  #begin() {
    const { texts, url } = this.given;
    this.log = make("div", "st-log");
    this.log.setAttribute("role", "log");
    this.log.tabIndex = 0;
    const field = this.spoken ? this.#microphone() : this.#field();
    this.element.replaceChildren(this.#card(), this.log, field, make("div", "st-row st-end", this.needed, this.finish));
    this.element.classList.add("st-talking");
    this.line = new Line(url, {
      onEvent: (event) => this.#receive(event),
      onLost: () => this.#lost(),
      onEnded: (why, error) => this.#ended(why, error),
    });
    this.#showNeeded();
    this.line.open();
    const frame = () => {
      if (!this.running) return;
      this.#draw();
      setTimeout(frame, 30); // not requestAnimationFrame: words are due in a hidden window as well
    };
    frame();
    this.given.onTrouble(texts.say("page.loading"));
    this.box?.box.focus();
  }

  #card() {
    const { state, texts } = this.given;
    const task = state.step.task ?? { title: "", text: "" };
    const card = make("details", "st-card", make("summary", "", make("span", "st-soft", texts.say("talk.card")), " ", make("strong", "", task.title)));
    card.open = true;
    card.append(...paragraphs(task.text.split(/\n\s*\n/)), make("p", "st-soft", texts.say("talk.keep_to")));
    return card;
  }

  #field() {
    const { texts } = this.given;
    const area = make("textarea", "st-box");
    area.rows = 1;
    area.maxLength = 4000;
    area.placeholder = texts.say("talk.placeholder");
    area.setAttribute("aria-label", texts.say("talk.placeholder"));
    area.autocomplete = "off";
    area.spellcheck = false;
    area.setAttribute("enterkeyhint", "send");
    this.box = new TypingBox(area, {
      onEdit: (messages) => this.#typed(messages),
      onEnter: () => this.#enter(),
      onSaid: (text) => this.#said(text),
    });
    const send = button(texts.say("page.send"), () => {
      this.box?.enter();
      area.focus();
    });
    return make("div", "st-field", area, send);
  }

  #microphone() {
    const { texts } = this.given;
    this.voice = new Voice({
      send: (event) => this.#sendVoice(event),
      sessionTime: (local) => this.clock.at(local),
      tell: (event) => { if (event.type === "client.echo") this.given.note("device", event); },
      note: (key, text) => this.given.onTrouble(text && (NOTES[key] ? texts.say(NOTES[key]) : text)),
      onChange: () => this.#showMicrophone(),
      onBegin: () => {},
    });
    // Chosen for them: the partner has one voice, and it is always on.
    Object.assign(this.voice, { system: "partner", chosen: true, spoken: true });
    this.microphone = button("", () => void this.voice?.toggleMicrophone(), "st-button st-microphone");
    this.listening = make("span", "st-soft");
    return make("div", "st-field st-spoken", this.microphone, this.listening);
  }

  #showMicrophone() {
    const { texts } = this.given;
    const on = Boolean(this.voice?.microphone.on);
    if (!this.microphone || !this.listening) return;
    this.microphone.textContent = texts.say(on ? "talk.microphone_off" : "talk.microphone_on");
    this.microphone.setAttribute("aria-pressed", String(on));
    this.listening.textContent = on ? texts.say("talk.listening") : "";
  }

  /** Which system speaks is not the page's to say. @param {import("../wire.js").ClientEvent} event */
  #sendVoice(event) {
    if (event.type !== "session.update") return Boolean(this.line?.send(event));
    const { input, output } = event.session.audio ?? {};
    return Boolean(this.line?.send({ type: "session.update", session: { audio: { input, output: { voice: output?.voice } } } }));
  }

  /** @param {any} event */
  #receive(event) {
    switch (event.type) {
      case "duplex.queue": // all places are taken, and theirs will come
        this.given.onTrouble(this.given.texts.say("error.busy"));
        break;
      case "session.created":
        this.#created(event);
        break;
      case "response.created":
        this.#unload({ whole: performance.now() - this.lastKey >= TYPING_MS });
        break;
      case "response.output_text.delta":
        this.partner.say(this.#id(event), event.at, event.delta);
        break;
      case "duplex.cut":
        this.clock.observe(event.at, localTime());
        this.partner.cut(this.#id(event), event.at, event.unheard);
        this.#redraw(this.#id(event));
        break;
      case "conversation.item.input_audio_transcription.delta":
        this.heard += event.delta;
        break;
      case "input_audio_buffer.speech_started":
        this.#spokenLine();
        break;
      case "study.talk":
        this.talked = event;
        this.#showNeeded();
        break;
      case "error":
        this.given.onTrouble(event.error.message);
        break;
      default:
        break;
    }
    if (event.type !== "session.created") this.voice?.receive(event);
  }

  /** @param {any} event */
  #created(event) {
    this.session += 1;
    this.clock = new SessionClock();
    this.clock.observe(event.at, localTime());
    this.given.onTrouble("");
    this.box?.reset({ keep: true });
    this.box?.flush();
    if (!this.voice) return;
    const { audio } = event.session;
    this.voice.voice = audio.voice ?? audio.voices[0]?.id ?? null;
    this.voice.session(audio);
    this.voice.system = /** @type {any} */ ("partner");
    if (!this.voice.microphone.on) void this.voice.toggleMicrophone();
  }

  #lost() {
    this.voice?.lost();
    this.given.note("problem", { connection: "lost" });
    this.given.onTrouble(this.given.texts.say("page.connection_lost"));
  }

  /** @param {"refused" | "elsewhere" | "over"} why @param {{code: string, message: string} | null} error */
  #ended(why, error) {
    const { texts, onTrouble, onRefused } = this.given;
    this.voice?.lost();
    if (why === "elsewhere") {
      onTrouble(texts.say("page.other_tab"));
      this.element.append(button(texts.say("page.retry"), () => location.reload()));
    } else if (error?.code === "busy") {
      onTrouble(error.message);
      setTimeout(() => this.running && this.line?.open(), 10_000);
    } else {
      onRefused(error?.code ?? why);
    }
  }

  /** @param {import("../wire.js").InputEdit[]} messages @returns {boolean} */
  #typed(messages) {
    this.lastKey = performance.now();
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.#unload({ whole: true }), REST_MS);
    return messages.every((message) => this.line?.send(message));
  }

  #enter() {
    this.#unload({ whole: true });
    this.line?.send({ type: "duplex.input.enter" });
  }

  /** What stands in the field was said. @param {{whole: boolean}} options or but for the word that is being typed just now */
  #unload({ whole }) {
    clearTimeout(this.resting);
    if (!this.box) return;
    const text = this.box.sent.at(-1) ?? "";
    const said = whole ? text : text.slice(0, text.search(/\S*$/));
    if (!said.trim()) return;
    if (whole && !/\s$/.test(said)) this.line?.send({ type: "duplex.input.edit", delete: 0, insert: " " });
    this.box.seal(codePoints(said).length, "");
  }

  /** @param {string} text */
  #said(text) {
    if (text.trim()) this.#line("st-you", this.given.texts.say("talk.you"), text.trim());
  }

  /** A stretch of speech is a line; its words come when they are recognised. */
  #spokenLine() {
    this.heard = "";
    this.spokenText = null;
  }

  #draw() {
    if (this.heard.trim()) {
      this.spokenText ??= this.#line("st-you", this.given.texts.say("talk.you"), "");
      if (this.spokenText.textContent !== this.heard.trim()) this.spokenText.textContent = this.heard.trim();
    }
    if (!this.partner.show(this.clock.at(localTime()))) return;
    for (const answer of this.partner.answers.slice(-2)) this.#redraw(answer.id);
  }

  /** @param {string} id */
  #redraw(id) {
    const answer = this.partner.answers.findLast((each) => each.id === id);
    if (!answer) return;
    const { texts, state } = this.given;
    let line = this.lines.get(id);
    if (!line) {
      line = this.#line("st-partner", texts.say("talk.partner", { label: state.label ?? "" }), "");
      this.lines.set(id, line);
    }
    line.textContent = answer.text.trimStart();
    this.#follow();
  }

  /** @param {string} kind @param {string} who @param {string} text @returns {HTMLElement} where the text stands */
  #line(kind, who, text) {
    const said = make("span", "st-said", text);
    this.log?.append(make("p", `st-line ${kind}`, make("span", "st-who", who), said));
    this.#follow();
    return said;
  }

  #follow() {
    if (this.log) this.log.scrollTop = this.log.scrollHeight;
  }

  /** @param {{response_id: string}} event @returns {string} answers of an earlier session have the same numbers */
  #id({ response_id }) {
    return `${this.session}:${response_id}`;
  }

  #showNeeded() {
    const { texts } = this.given;
    const seconds = Math.max(0, this.talked.needed_seconds - this.talked.seconds);
    const turns = Math.max(0, this.talked.needed_turns - this.talked.turns);
    const enough = !seconds && !turns;
    this.needed.textContent = enough ? texts.say("talk.enough") : texts.say("talk.still_needed", { seconds, turns });
    this.finish.disabled = !enough;
    this.finish.classList.toggle("st-main-button", enough);
  }
}
