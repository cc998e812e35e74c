// @ts-check
/**
 * The voice of the page: joins the microphone, the loudspeaker and the ducking to the
 * connection. Knows who is audible and with which voice; draws nothing (`voice-controls.js`).
 */
import { BrowserVoice } from "./browser-voice.js";
import { SessionClock } from "./clock.js";
import { Ducking, echoOf } from "./ducking.js";
import { CHIME_LEVEL, Loudspeaker } from "./loudspeaker.js";
import { Microphone, wordsFor } from "./microphone.js";
import { EAR_RATE, FRAME_SAMPLES, FRAME_SECONDS, encodePcm } from "./pcm.js";

/** @typedef {import("./wire.js").System} System @typedef {import("./wire.js").ServerEvent} ServerEvent */
/** @typedef {"microphone" | "muted" | "suspended" | "headphones" | "ears" | "mouth"} NoteKey */
/**
 * @typedef {object} Listeners
 * @property {(event: import("./wire.js").ClientEvent) => boolean} send  false: not connected
 * @property {(local: number) => number} sessionTime  local seconds → session seconds
 * @property {(event: import("./sound.js").ClientSound) => void} tell  something happened here
 * @property {(key: NoteKey, text: string) => void} note  in plain words; "" takes it away
 * @property {() => void} onChange  something that the controls show
 * @property {() => void} onBegin  the person is about to speak
 */

/** Frames of silence, then frames around the chime, of the self-echo test. */
const BEFORE_FRAMES = 12;
const DURING_FRAMES = 30;
/** Frames that a microphone needs to settle: they count for nothing. */
const SETTLING_FRAMES = 10;
/** A sound context and this page's clock drift apart: they are compared anew this often. */
const DRIFT_SECONDS = 30;
const SILENCE = encodePcm(new Int16Array(FRAME_SAMPLES));
const HEADPHONES = "Put on headphones: the microphone hears my voice.";
const PAUSED = "The browser has paused the sound: click anywhere on this page to go on.";

/** @returns {number} seconds */
const localTime = () => performance.now() / 1000;

/** A context with our worklets. @returns {Promise<AudioContext>} @throws {Error} whose message is in plain words */
export async function openAudio() {
  if (!isSecureContext) throw new Error(wordsFor("InsecureContext"));
  if (!("AudioWorkletNode" in globalThis)) throw new Error(wordsFor("Unsupported"));
  const context = new AudioContext({ latencyHint: "interactive" });
  for (const worklet of ["capture", "playback"]) {
    await context.audioWorklet.addModule(new URL(`./${worklet}-worklet.js`, import.meta.url));
  }
  return context;
}

export class Voice {
  /** @param {Listeners} listeners */
  constructor(listeners) {
    this.listeners = listeners;
    this.audio = /** @type {import("./wire.js").SessionAudio | null} */ (null);
    /** The voice that speaks: null for none, "browser" for the browser's own. */
    this.voice = /** @type {string | null} */ (null);
    this.system = /** @type {System} */ ("duplex");
    /** The person has chosen: defaults change nothing any more. */
    this.chosen = false;
    /** The microphone was on once: from then on a voice is welcome. */
    this.spoken = false;
    /** The browser asks whether the microphone may be used. */
    this.asking = false;
    /** For the meter, 0 to 1. */
    this.level = 0;
    this.ducking = new Ducking();
    /** Where the context's seconds lie in local time. */
    this.audioClock = new SessionClock();
    this.comparedAt = -Infinity;
    this.context = /** @type {AudioContext | null} */ (null);
    this.opening = /** @type {Promise<AudioContext> | null} */ (null);
    this.speaker = /** @type {Loudspeaker | null} */ (null);
    this.microphone = new Microphone({
      onFrame: (frame) => this.#frame(frame),
      onEnded: (problem) => this.#switchedOff(problem),
      onMuted: (problem) => listeners.note("muted", problem),
      onDevices: () => listeners.onChange(),
    });
    this.browser = new BrowserVoice({
      now: () => listeners.sessionTime(localTime()),
      onSpeaking: (speaking) => this.#act(this.ducking.voice(speaking)),
    });
    this.echoTest = { done: false, settling: SETTLING_FRAMES, before: /** @type {number[]} */ ([]), during: /** @type {number[]} */ ([]) };
    /** What that test found. */
    this.echo = /** @type {import("./sound.js").ClientEcho | null} */ (null);
    this.somebodySpeaks = false;
    this.sounding = false;
  }

  /** A session has begun. @param {import("./wire.js").SessionAudio | undefined} audio undefined: a server without sound */
  session(audio) {
    const { listeners } = this;
    this.audio = audio ?? null;
    this.leave();
    listeners.note("ears", "");
    listeners.note("mouth", "");
    if (!audio) {
      this.#switchOff();
      this.voice = null;
    } else {
      if (!this.chosen) this.system = audio.system;
      this.voice = this.#wanted(audio);
      this.#update();
    }
    // What this session does not know yet.
    if (this.microphone.on) listeners.tell({ type: "client.microphone", at: this.#sessionNow(), on: true });
    if (this.echo) listeners.tell(this.echo);
    listeners.onChange();
  }

  /** @param {ServerEvent} event */
  receive(event) {
    switch (event.type) {
      case "session.updated":
        this.audio = event.session.audio;
        this.listeners.onChange();
        break;
      case "input_audio_buffer.speech_started":
        if (!this.microphone.on) break; // it was switched off meanwhile
        this.somebodySpeaks = true;
        this.#act(this.ducking.speechStarted());
        break;
      case "input_audio_buffer.speech_stopped":
        this.somebodySpeaks = false;
        this.#act(this.ducking.speechStopped(localTime()));
        break;
      case "duplex.audio.problem":
        this.listeners.note(event.where, event.message);
        break;
      default:
        // Until the server has heard of a change, the other one's sound may still come.
        if ("system" in event && event.system === this.system && this.voice) this.#hear(event);
    }
  }

  /** The connection is lost: nobody hears the person. */
  lost() {
    if (this.microphone.on) this.#switchedOff("The connection is lost: the microphone was switched off. Press Speak when it is back.");
    this.leave();
  }

  /** The session is over: its answers are neither heard nor reported in another. */
  leave() {
    this.#silence({ told: false });
    this.somebodySpeaks = false;
  }

  /** @param {{voice?: string | null, system?: System}} choice of the person */
  choose({ voice = this.voice, system = this.system }) {
    if (voice !== this.voice || system !== this.system) this.#silence({ told: true });
    this.chosen = true;
    this.voice = voice;
    this.system = system;
    if (voice && voice !== "browser") void this.#open().catch((error) => this.listeners.note("mouth", error.message));
    this.#update();
    this.listeners.onChange();
  }

  /** @param {string} device id of another microphone */
  async useDevice(device) {
    this.microphone.device = device;
    if (this.microphone.on) await this.#switchOn();
  }

  async toggleMicrophone() {
    if (this.asking) return;
    if (this.microphone.on) this.#switchOff();
    else if (this.audio && !this.audio.ears) this.listeners.note("ears", this.audio.note || "Speech cannot be recognised here: type.");
    else await this.#switchOn();
  }

  /** Leaves the page. */
  stop() {
    this.#switchOff();
    this.browser.stop();
    void this.context?.close();
  }

  async #switchOn() {
    const { listeners } = this;
    this.asking = true;
    listeners.note("microphone", "");
    listeners.onChange();
    try {
      await this.microphone.start(await this.#open());
      listeners.onBegin();
      listeners.tell({ type: "client.microphone", at: this.#sessionNow(), on: true });
      this.#firstSpoken();
    } catch (error) {
      listeners.note("microphone", /** @type {Error} */ (error).message);
    }
    this.asking = false;
    listeners.onChange();
  }

  /** Who speaks may like to hear: the server's voice comes on, once. */
  #firstSpoken() {
    if (this.spoken || !this.audio) return;
    this.spoken = true;
    this.voice = this.#wanted(this.audio);
    this.#update();
  }

  #switchOff() {
    if (this.microphone.on) this.#switchedOff("");
  }

  /** @param {string} problem why, if not at the person's wish */
  #switchedOff(problem) {
    this.microphone.stop();
    this.level = 0;
    this.somebodySpeaks = false;
    this.#act(this.ducking.released());
    this.listeners.send({ type: "input_audio_buffer.commit" });
    this.listeners.tell({ type: "client.microphone", at: this.#sessionNow(), on: false });
    this.listeners.note("muted", "");
    this.listeners.note("microphone", problem);
    this.listeners.onChange();
  }

  /** @param {import("./wire.js").SessionAudio} audio @returns {string | null} */
  #wanted(audio) {
    const known = this.voice === "browser" || audio.voices.some(({ id }) => id === this.voice);
    if (this.chosen && (this.voice === null || known)) return this.voice;
    return this.spoken || this.chosen ? audio.voice ?? audio.voices[0]?.id ?? null : null;
  }

  /** Tells the server who is audible, and how. */
  #update() {
    if (!this.audio) return;
    const { voice, system } = this;
    this.listeners.send({
      type: "session.update",
      session: { audio: { input: { format: { type: "audio/pcm", rate: EAR_RATE } }, output: { voice, system } } },
    });
  }

  /** The context with its worklets: made once, at a key or a click. @returns {Promise<AudioContext>} */
  #open() {
    this.opening ??= this.#make().catch((error) => {
      this.opening = null;
      throw error;
    });
    void this.context?.resume();
    return this.opening;
  }

  async #make() {
    const context = await openAudio();
    this.context = context;
    context.addEventListener("statechange", () => this.#contextChanged(context));
    this.speaker = new Loudspeaker(context, (report) => this.#played(report));
    void context.resume();
    return context;
  }

  /** @param {AudioContext} context */
  #contextChanged(context) {
    this.audioClock = new SessionClock();
    const needed = this.microphone.on || this.voice !== null;
    const paused = context.state !== "running" && context.state !== "closed" && needed;
    this.listeners.note("suspended", paused ? PAUSED : "");
    if (!paused) return;
    const resume = () => void context.resume();
    for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, resume, { once: true, capture: true });
  }

  /** What the audible system says. @param {ServerEvent} event */
  #hear(event) {
    if (this.voice === "browser") return this.#hearText(event);
    switch (event.type) {
      case "response.output_audio.delta":
        this.#withSpeaker((speaker) => speaker.play(event));
        break;
      case "response.output_audio.done":
        this.#withSpeaker((speaker) => speaker.done(event));
        break;
      case "duplex.audio.flush":
        this.#withSpeaker((speaker) => speaker.flush(event));
        this.#act(this.ducking.flushed());
        break;
      case "duplex.yield":
        this.#act(this.ducking.yielded(localTime()));
        break;
      default:
        break;
    }
  }

  /** @param {ServerEvent} event */
  #hearText(event) {
    if (event.type === "response.output_text.delta") this.browser.add(event.at, event.delta);
    else if (event.type === "response.done" && event.status === "completed") this.browser.end();
    else if (event.type === "duplex.cut" || event.type === "duplex.yield") {
      this.browser.stop();
      this.#act(this.ducking.flushed());
    }
  }

  /** In order, even while the worklets are still loading. @param {(speaker: Loudspeaker) => void} act */
  #withSpeaker(act) {
    if (this.speaker) return act(this.speaker);
    const told = (/** @type {Error} */ error) => this.listeners.note("mouth", error.message);
    void this.#open().then(() => this.speaker && act(this.speaker), told);
  }

  /** Nothing of what was on its way is heard. @param {{told: boolean}} options whether the server is to know */
  #silence({ told }) {
    this.speaker?.clear({ told });
    this.browser.stop();
    this.sounding = false;
    this.#act(this.ducking.voice(false));
  }

  /** @param {import("./loudspeaker.js").Report} report */
  #played(report) {
    const { listeners } = this;
    const { system, response_id, samples, playing, reason, levels } = report;
    this.#compare(this.context?.currentTime ?? report.time);
    listeners.send({ type: "duplex.audio.played", response_id, samples, playing });
    listeners.tell({
      type: "client.played", at: this.#sessionTime(report.time), system: /** @type {System} */ (system),
      response_id, samples, playing, reason, levels,
    });
    this.sounding = playing;
    // One that has run dry is about to go on: it stays as loud as it is.
    this.#act(this.ducking.voice(playing || reason === "dry", levels.length ? Math.max(...levels) : undefined));
  }

  /** @param {import("./microphone.js").Frame} frame */
  #frame({ samples, level, time }) {
    const { listeners } = this;
    this.#compare(time);
    const testing = this.#testEcho(level);
    // The chime is nothing that the person said.
    listeners.send({ type: "input_audio_buffer.append", audio: testing ? SILENCE : encodePcm(samples) });
    listeners.tell({ type: "client.level", at: this.#sessionTime(time) - FRAME_SECONDS, level });
    this.level = Math.max(level, this.level * 0.85);
    this.#act(this.ducking.hear(level, localTime()));
  }

  /**
   * Once, when microphone and voice are both on and all is quiet: a chime, and does the
   * microphone hear it?
   * @param {number} level of a frame @returns {boolean} whether the chime sounds
   */
  #testEcho(level) {
    const test = this.echoTest;
    const { speaker } = this;
    if (test.done || !speaker || this.voice === null) return false;
    if (test.settling > 0) {
      test.settling -= 1;
      return false;
    }
    if (test.before.length < BEFORE_FRAMES) {
      if (this.sounding || this.somebodySpeaks) test.before = [];
      else test.before.push(level);
      if (test.before.length === BEFORE_FRAMES) speaker.chime();
      return false;
    }
    test.during.push(level);
    if (test.during.length === DURING_FRAMES) {
      test.done = true;
      const result = echoOf(test.before, test.during, CHIME_LEVEL);
      this.ducking.measured(result.coupling);
      const echo = { type: /** @type {const} */ ("client.echo"), ...result };
      this.echo = echo;
      this.listeners.tell(echo);
      if (result.heard) this.listeners.note("headphones", HEADPHONES);
    }
    return true;
  }

  /** @param {import("./ducking.js").Action} action */
  #act(action) {
    if (!action) return;
    const mouth = this.voice === "browser" ? this.browser : this.speaker;
    mouth?.[action]();
    const at = this.#sessionNow();
    this.listeners.tell(action === "lower" ? { type: "client.lowered", at } : { type: "client.restored", at });
  }

  /** @param {number} time context seconds, just now */
  #compare(time) {
    const local = localTime();
    if (local - this.comparedAt > DRIFT_SECONDS) {
      this.audioClock = new SessionClock();
      this.comparedAt = local;
    }
    this.audioClock.observe(time, local);
  }

  /** @param {number} time context seconds @returns {number} session seconds */
  #sessionTime(time) {
    return this.listeners.sessionTime((this.audioClock.zero ?? 0) + time);
  }

  #sessionNow() {
    return this.listeners.sessionTime(localTime());
  }
}
