// @ts-check
/**
 * The loudspeaker's worklet: plays the sound of answers, one after the other, and counts.
 *
 * Takes {type: "chunk", system, response_id, start, samples: Int16Array at 24 kHz},
 * {type: "flush", system, response_id, samples}, {type: "done", response_id}, {type: "clear", told: boolean}.
 * Posts reports (see `Report`), every 100 ms while something plays and at once when an
 * answer begins, is flushed, runs dry or ends; `time` is the context's seconds at the end
 * of the levels. `Player` is pure and tested without a browser.
 *
 * @typedef {"begun" | "flushed" | "dry" | "ended"} Reason
 * @typedef {object} Report
 * @property {string} system
 * @property {string} response_id
 * @property {number} samples  of the answer played so far, at 24 kHz
 * @property {boolean} playing
 * @property {Reason} [reason]  absent: it simply goes on
 * @property {number} underruns  how often sound came too late, in all answers
 * @property {number[]} levels  since the last report, one for each 20 ms
 */
import { FRAME_SECONDS, MOUTH_RATE, Sinc, levelOf, toFloat } from "./pcm.js";

/** Samples that have to be there before an answer begins: 100 ms. */
const START_SAMPLES = 2400;
/** Samples of a fade: 10 ms. */
const FADE_SAMPLES = 240;
/** Seconds a sound shorter than the start buffer waits for more. */
const PATIENCE_SECONDS = 0.15;
const REPORT_SECONDS = 0.1;
/** Answers remembered after they ended: one of them may be flushed and go on. */
const KEPT_SOUNDS = 16;
/** Samples kept behind the position, for reading between samples and for fades. */
const BEHIND = 64;

/** The sound of one answer. Numbers are samples of the answer at 24 kHz. */
class Sound {
  /** @param {string} system @param {string} id @param {number} start */
  constructor(system, id, start) {
    this.system = system;
    this.id = id;
    this.data = new Float32Array(MOUTH_RATE);
    /** The number of `data[0]`. */
    this.base = start;
    this.length = 0;
    this.position = start;
    /** Nothing follows. */
    this.done = false;
    /** It was cut at its end; what comes now goes on from there. */
    this.flushed = false;
    this.dry = false;
    this.waited = 0;
  }

  get end() {
    return this.base + this.length;
  }

  get left() {
    return this.end - this.position;
  }

  /** @param {number} start @param {Float32Array} samples */
  append(start, samples) {
    if (!this.length && !this.position) this.base = this.position = start; // it was flushed before it began
    // What was played beyond a flush is played again by what the answer goes on with.
    if (this.position > this.end) this.position = this.end;
    const fresh = samples.subarray(Math.max(0, Math.min(samples.length, this.end - start)));
    const gap = Math.max(0, start - this.end);
    this.#room(gap + fresh.length);
    this.data.fill(0, this.length, this.length + gap);
    this.data.set(fresh, this.length + gap);
    this.length += gap + fresh.length;
  }

  /** Drops what comes after a sample. @param {number} end */
  truncate(end) {
    if (end >= this.end) return;
    this.length = Math.max(0, end - this.base);
    this.base = Math.min(this.base, end);
  }

  /** @param {number} more samples that shall fit */
  #room(more) {
    const over = Math.floor(this.position) - BEHIND - this.base;
    if (over > 0) {
      this.data.copyWithin(0, over, this.length);
      this.base += over;
      this.length -= over;
    }
    if (this.length + more <= this.data.length) return;
    const larger = new Float32Array(2 * (this.length + more));
    larger.set(this.data.subarray(0, this.length));
    this.data = larger;
  }
}

export class Player {
  /** @param {number} rate of what is rendered */
  constructor(rate) {
    this.rate = rate;
    this.sinc = new Sinc(MOUTH_RATE, rate);
    /** @type {Map<string, Sound>} */
    this.sounds = new Map();
    /** @type {Sound[]} the first one plays or is about to */
    this.queue = [];
    this.playing = false;
    this.gain = 0;
    /** What fades out after a flush, at the rate of the output. */
    this.tail = new Float32Array(0);
    this.tailPlace = 0;
    this.underruns = 0;
    this.sinceReport = 0;
    /** @type {number[]} */
    this.levels = [];
    this.levelFrame = new Float32Array(Math.round(rate * FRAME_SECONDS));
    this.levelFilled = 0;
    /** @type {Report[]} */
    this.reports = [];
  }

  /** @param {{system: string, response_id: string, start: number, samples: Int16Array}} chunk */
  chunk({ system, response_id, start, samples }) {
    const sound = this.sounds.get(response_id) ?? this.#add(system, response_id, start);
    if (sound.done && !sound.flushed) return;
    sound.flushed = false;
    sound.done = false;
    sound.append(start, toFloat(samples));
    if (!this.queue.includes(sound)) this.queue.push(sound);
  }

  /** No more sound follows. @param {{response_id: string}} event */
  done({ response_id }) {
    const sound = this.sounds.get(response_id);
    if (!sound || sound.done) return;
    sound.done = true;
    if (this.queue.includes(sound) && sound.left <= 0) this.#over(sound, "ended");
  }

  /** Plays at most up to a sample; the rest is dropped. @param {{system: string, response_id: string, samples: number}} event */
  flush({ system, response_id, samples }) {
    const sound = this.sounds.get(response_id) ?? this.#add(system, response_id, 0);
    const sounding = this.playing && this.queue[0] === sound;
    const now = sounding && samples - sound.position < FADE_SAMPLES;
    if (now) this.#fadeOut(sound);
    sound.truncate(samples);
    sound.flushed = true;
    if (!now && sound.left > 0) return; // it stops when it gets there
    if (sounding) sound.position = Math.max(sound.position, samples);
    this.#over(sound, "flushed");
  }

  /** Drops everything, with a fade. @param {{told: boolean}} options whether a report says so */
  clear({ told }) {
    const [sound] = this.queue;
    if (sound && this.playing) {
      this.#fadeOut(sound);
      this.#over(sound, "flushed");
    }
    if (!told) this.reports = [];
    this.queue = [];
    this.sounds.clear();
  }

  /** @param {Float32Array} output is filled */
  render(output) {
    this.#begin(output.length);
    for (let i = 0; i < output.length; i += 1) {
      output[i] = this.#next();
      this.levelFrame[this.levelFilled] = output[i];
      this.levelFilled += 1;
      if (this.levelFilled === this.levelFrame.length) {
        if (this.playing || this.levels.length) this.levels.push(levelOf(this.levelFrame));
        this.levelFilled = 0;
      }
    }
    this.sinceReport += output.length;
    if (this.playing && this.sinceReport >= this.rate * REPORT_SECONDS) this.#report(this.queue[0]);
  }

  /** @returns {Report[]} those since the last time */
  takeReports() {
    const { reports } = this;
    if (reports.length) this.reports = [];
    return reports;
  }

  #next() {
    let value = 0;
    if (this.tailPlace < this.tail.length) {
      value = this.tail[this.tailPlace];
      this.tailPlace += 1;
    }
    if (!this.playing) return value;
    const [sound] = this.queue;
    // Up from silence at the start, and down to it where the sound there is ends.
    this.gain = Math.min(this.gain + this.sinc.step / FADE_SAMPLES, 1, sound.left / FADE_SAMPLES);
    value += this.gain * this.sinc.at(sound.data, sound.length, sound.position - sound.base);
    sound.position += this.sinc.step;
    if (sound.left <= 0) {
      sound.position = sound.end;
      this.#over(sound, sound.flushed ? "flushed" : sound.done ? "ended" : "dry");
    }
    return value;
  }

  /** Begins the next answer when enough of it is there. @param {number} waited rendered samples since the last time */
  #begin(waited) {
    if (this.playing) return;
    // One that waits for sound gives way to the next that has some.
    while (this.queue.length > 1 && this.queue[0].left <= 0) this.queue.shift();
    const [sound] = this.queue;
    if (!sound || sound.left <= 0) return;
    sound.waited += waited;
    const enough = sound.left >= START_SAMPLES || sound.done || sound.flushed || sound.waited >= this.rate * PATIENCE_SECONDS;
    if (!enough) return;
    this.playing = true;
    this.gain = 0;
    this.underruns += Number(sound.dry);
    sound.dry = false;
    this.#report(sound, "begun");
  }

  /** @param {Sound} sound @param {Reason} reason */
  #over(sound, reason) {
    if (this.queue[0] === sound) this.playing = false;
    sound.waited = 0;
    sound.dry = reason === "dry";
    if (reason !== "dry") this.queue = this.queue.filter((other) => other !== sound);
    this.#report(sound, reason);
  }

  /** @param {Sound} sound that plays */
  #fadeOut(sound) {
    this.tail = new Float32Array(Math.round((FADE_SAMPLES / MOUTH_RATE) * this.rate));
    for (let i = 0; i < this.tail.length; i += 1) {
      const read = this.sinc.at(sound.data, sound.length, sound.position + i * this.sinc.step - sound.base);
      this.tail[i] = read * this.gain * (1 - i / this.tail.length);
    }
    this.tailPlace = 0;
  }

  /** @param {Sound} sound @param {Reason} [reason] */
  #report(sound, reason) {
    const { system, id: response_id } = sound;
    const playing = this.playing && this.queue[0] === sound;
    const samples = Math.floor(sound.position);
    const report = { system, response_id, samples, playing, underruns: this.underruns, levels: this.levels };
    this.reports.push(reason ? { ...report, reason } : report);
    this.levels = [];
    this.sinceReport = 0;
  }

  /** @param {string} system @param {string} id @param {number} start @returns {Sound} */
  #add(system, id, start) {
    const sound = new Sound(system, id, start);
    this.sounds.set(id, sound);
    const oldest = [...this.sounds.values()].find((other) => other !== sound && !this.queue.includes(other));
    if (oldest && this.sounds.size > KEPT_SOUNDS) this.sounds.delete(oldest.id);
    return sound;
  }
}

// Only a worklet has these names, and the types of a page do not know them.
const scope = /** @type {any} */ (globalThis);
if (scope.registerProcessor) {
  scope.registerProcessor("duplex-playback", class extends scope.AudioWorkletProcessor {
    constructor() {
      super();
      const player = new Player(scope.sampleRate);
      this.player = player;
      /** @param {{data: any}} message */
      this.port.onmessage = ({ data }) => {
        if (data.type === "chunk") player.chunk(data);
        else if (data.type === "flush") player.flush(data);
        else if (data.type === "done") player.done(data);
        else if (data.type === "clear") player.clear(data);
      };
    }

    /** @param {Float32Array[][]} _inputs @param {Float32Array[][]} outputs */
    process(_inputs, outputs) {
      const [first, ...others] = outputs[0];
      this.player.render(first);
      for (const other of others) other.set(first);
      for (const report of this.player.takeReports()) this.port.postMessage({ ...report, time: scope.currentTime });
      return true;
    }
  });
}
