// @ts-check
/**
 * The loudspeaker: the playback worklet behind a gain that lowers the voice.
 */
import { MOUTH_RATE, decodePcm } from "./pcm.js";

/** @typedef {import("./playback-worklet.js").Report & {time: number}} Report */

/** Loudness of a lowered voice, and the seconds it takes down and up. */
const LOWERED = 0.15;
const LOWER_SECONDS = 0.015;
const RESTORE_SECONDS = 0.15;
/** The chime: two soft tones, one above the other. */
const CHIME_SECONDS = 0.4;
const CHIME_HERTZ = [523.25, 783.99];
const CHIME_GAIN = 0.05;
/** Its level while it sounds. */
export const CHIME_LEVEL = CHIME_GAIN;

export class Loudspeaker {
  /** @param {AudioContext} context with the playback worklet loaded @param {(report: Report) => void} onReport */
  constructor(context, onReport) {
    this.context = context;
    this.gain = context.createGain();
    this.player = new AudioWorkletNode(context, "duplex-playback", { numberOfInputs: 0, numberOfOutputs: 1, outputChannelCount: [1] });
    this.player.port.onmessage = ({ data }) => onReport(this.#heard(data));
    this.player.connect(this.gain).connect(context.destination);
  }

  /** @param {import("./wire.js").AudioDelta} event */
  play({ system, response_id, start, delta }) {
    const samples = decodePcm(delta);
    this.player.port.postMessage({ type: "chunk", system, response_id, start, samples }, [samples.buffer]);
  }

  /** @param {import("./wire.js").AudioDone} event */
  done({ response_id }) {
    this.player.port.postMessage({ type: "done", response_id });
  }

  /** @param {import("./wire.js").AudioFlush} event */
  flush({ system, response_id, samples }) {
    this.player.port.postMessage({ type: "flush", system, response_id, samples });
  }

  /** @param {{told: boolean}} options whether a report says what was played of it */
  clear({ told }) {
    this.player.port.postMessage({ type: "clear", told });
  }

  lower() {
    this.#turn(LOWERED, LOWER_SECONDS);
  }

  restore() {
    this.#turn(1, RESTORE_SECONDS);
  }

  /** A soft sound of 0.4 s on the way that the voice takes. */
  chime() {
    const { context } = this;
    const now = context.currentTime;
    CHIME_HERTZ.forEach((hertz, i) => {
      const tone = new OscillatorNode(context, { frequency: hertz });
      const envelope = new GainNode(context, { gain: 0 });
      envelope.gain.setValueAtTime(0, now);
      envelope.gain.linearRampToValueAtTime(CHIME_GAIN, now + 0.02 + 0.06 * i);
      envelope.gain.setValueAtTime(CHIME_GAIN, now + 0.6 * CHIME_SECONDS);
      envelope.gain.linearRampToValueAtTime(0, now + CHIME_SECONDS);
      tone.connect(envelope).connect(this.gain);
      tone.start(now);
      tone.stop(now + CHIME_SECONDS);
    });
  }

  /** @param {number} value @param {number} seconds */
  #turn(value, seconds) {
    const { gain } = this.gain;
    const now = this.context.currentTime;
    const from = gain.value;
    gain.cancelScheduledValues(now);
    gain.setValueAtTime(from, now);
    gain.linearRampToValueAtTime(value, now + seconds);
  }

  /** The worklet counts what it has rendered; the last of it is still on its way to the ear. @param {Report} report @returns {Report} */
  #heard(report) {
    const latency = (this.context.outputLatency || 0) + (this.context.baseLatency || 0);
    const samples = report.playing ? Math.max(0, report.samples - Math.round(latency * MOUTH_RATE)) : report.samples;
    return { ...report, samples, time: report.time + latency };
  }
}
