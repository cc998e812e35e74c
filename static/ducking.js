// @ts-check
/**
 * Ducking: the voice is lowered the moment the person seems to speak, long before the
 * server can know; it comes back when it was nothing or when the model goes on.
 *
 * Pure: fed with the levels of 20 ms frames, with what the server says and with times in
 * seconds of any clock. Every method returns what is to be done with the voice now. The
 * detector knows its own echo: what the voice adds to the microphone raises its threshold.
 *
 * @typedef {"lower" | "restore" | null} Action
 */

/** Seconds the server has to confirm that somebody speaks. */
export const CONFIRM_SECONDS = 0.4;
/** Seconds after the end of speech in which the model may still yield. */
export const YIELD_SECONDS = 0.6;

/** Frames above the threshold that are an onset. */
const ONSET_FRAMES = 2;
/** One frame so far above the threshold is enough. */
const CERTAIN = 4;
/** How far above the noise, and above its own echo, speech is. */
const ABOVE_NOISE = 4;
const ABOVE_ECHO = 2;
/** No quieter threshold than this (-46 dB): noise suppression leaves no noise to measure. */
const LEAST_THRESHOLD = 0.005;
const LEAST_FLOOR = 0.0002;
/** Before anything was measured, a tenth of the voice may come back: echo cancellation has yet to learn. */
const FIRST_COUPLING = 0.1;
const MOST_COUPLING = 2;
/** Level of a voice that has not been measured yet. */
const USUAL_VOICE = 0.1;
/** A quieter voice than this measures no echo. */
const FAINT_VOICE = 0.01;

export class Ducking {
  constructor() {
    /** Level of the room's noise. */
    this.floor = 0.001;
    /** Share of the voice's level that comes back through the microphone. */
    this.coupling = FIRST_COUPLING;
    this.playing = false;
    /** Level at which the voice plays. */
    this.voiceLevel = 0;
    this.loudFrames = 0;
    this.quietFrames = ONSET_FRAMES;
    /** A sound that goes on is no second onset. */
    this.armed = true;
    this.state = /** @type {"up" | "suspected" | "confirmed" | "deciding"} */ ("up");
    this.deadline = Infinity;
    /** What gave the alarm. */
    this.alarm = { level: 0, voiceLevel: 0 };
  }

  get lowered() {
    return this.state !== "up";
  }

  get threshold() {
    const echo = this.playing ? ABOVE_ECHO * this.coupling * this.voiceLevel : 0;
    return Math.max(LEAST_THRESHOLD, ABOVE_NOISE * this.floor) + echo;
  }

  /** The self-echo test has measured it. @param {number} coupling */
  measured(coupling) {
    this.coupling = Math.max(0, Math.min(MOST_COUPLING, coupling));
  }

  /**
   * Whether the voice plays, and how loud it is, as far as it is known.
   * @param {boolean} playing @param {number} [level] @returns {Action}
   */
  voice(playing, level) {
    if (level !== undefined) this.voiceLevel = level;
    else if (playing && !this.playing) this.voiceLevel = USUAL_VOICE;
    this.playing = playing;
    return playing ? null : this.#restore();
  }

  /** A frame of the microphone. @param {number} level @param {number} at @returns {Action} */
  hear(level, at) {
    const loud = level > this.threshold;
    this.loudFrames = loud ? this.loudFrames + 1 : 0;
    this.quietFrames = loud ? 0 : this.quietFrames + 1;
    if (this.quietFrames >= ONSET_FRAMES) this.armed = true;
    this.#learn(level, loud);
    const due = this.tick(at);
    const onset = this.loudFrames >= ONSET_FRAMES || level > CERTAIN * this.threshold;
    if (due || !this.playing || this.lowered || !this.armed || !onset) return due;
    this.armed = false;
    this.alarm = { level, voiceLevel: this.voiceLevel };
    return this.#lower("suspected", at + CONFIRM_SECONDS);
  }

  /** The server says that somebody speaks. @returns {Action} */
  speechStarted() {
    return this.playing || this.lowered ? this.#lower("confirmed", Infinity) : null;
  }

  /** The server says that they stopped: now the model decides. @param {number} at @returns {Action} */
  speechStopped(at) {
    return this.lowered ? this.#lower("deciding", at + YIELD_SECONDS) : null;
  }

  /** The model stopped: its sound is about to be flushed. @param {number} at @returns {Action} */
  yielded(at) {
    return this.speechStopped(at);
  }

  /** What was lowered is dropped: the next answer is loud again. @returns {Action} */
  flushed() {
    return this.#restore();
  }

  /** The microphone is off. @returns {Action} */
  released() {
    this.loudFrames = 0;
    return this.#restore();
  }

  /** Time passes. @param {number} at @returns {Action} */
  tick(at) {
    if (at < this.deadline) return null;
    if (this.state === "suspected") this.#falseAlarm();
    return this.#restore();
  }

  /** @param {"suspected" | "confirmed" | "deciding"} state @param {number} deadline @returns {Action} */
  #lower(state, deadline) {
    const was = this.lowered;
    this.state = state;
    this.deadline = deadline;
    return was ? null : "lower";
  }

  /** @returns {Action} */
  #restore() {
    const was = this.lowered;
    this.state = "up";
    this.deadline = Infinity;
    return was ? "restore" : null;
  }

  /** Nobody spoke: what gave the alarm was most likely the voice itself. */
  #falseAlarm() {
    const { level, voiceLevel } = this.alarm;
    if (voiceLevel < FAINT_VOICE) return;
    this.measured(Math.max(this.coupling, (level - this.floor) / voiceLevel));
  }

  /** @param {number} level @param {boolean} loud */
  #learn(level, loud) {
    if (level < this.floor) this.floor += 0.3 * (level - this.floor);
    else if (!this.playing) this.floor = Math.min(level, this.floor * 1.004); // 1.7 dB a second
    this.floor = Math.max(LEAST_FLOOR, this.floor);
    if (!this.playing || this.lowered || loud || this.voiceLevel < FAINT_VOICE) return;
    const share = Math.max(0, level - this.floor) / this.voiceLevel;
    this.coupling += (share > this.coupling ? 0.2 : 0.01) * (share - this.coupling);
  }
}

/**
 * The self-echo test: does the microphone hear what the loudspeaker plays?
 * @param {number[]} before levels of frames before the sound
 * @param {number[]} during levels of frames while it played
 * @param {number} played its level
 * @returns {{heard: boolean, coupling: number, before: number, during: number}}
 */
export function echoOf(before, during, played) {
  const quiet = quantile(before, 0.8);
  // The chime fills about half of the window, wherever the delay of the loudspeaker puts it.
  const loud = quantile(during, 0.8);
  const heard = loud > LEAST_THRESHOLD && loud > 3 * quiet;
  return { heard, coupling: Math.max(0, loud - quiet) / played, before: quiet, during: loud };
}

/** @param {number[]} values @param {number} share */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(share * (sorted.length - 1))] ?? 0;
}
