// @ts-check
/**
 * Sound as numbers: PCM16 and base64, levels, and reading it at another rate.
 *
 * Pure; used by the page and by both worklets. All sound is mono, floats from -1 to 1 or
 * int16; bytes on the wire are little-endian, as every machine with a browser has them.
 */

/** Samples a second of what is heard, and of what is said. */
export const EAR_RATE = 16000;
export const MOUTH_RATE = 24000;
/** A frame of the microphone: 20 ms. */
export const FRAME_SECONDS = 0.02;
export const FRAME_SAMPLES = EAR_RATE * FRAME_SECONDS;

/** Root mean square. @param {Float32Array} samples @returns {number} 0 to 1 */
export function levelOf(samples) {
  if (!samples.length) return 0;
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return Math.sqrt(sum / samples.length);
}

/** @param {Float32Array} samples louder ones than ±1 are clipped @returns {Int16Array} */
export function toPcm(samples) {
  return Int16Array.from(samples, (sample) => Math.round(Math.max(-1, Math.min(1, sample)) * 32767));
}

/** @param {Int16Array} samples @returns {Float32Array} */
export function toFloat(samples) {
  return Float32Array.from(samples, (sample) => sample / 32768);
}

/** @param {Int16Array} samples @returns {string} base64 */
export function encodePcm(samples) {
  return btoa(String.fromCharCode(...new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength)));
}

/** @param {string} base64 @returns {Int16Array} */
export function decodePcm(base64) {
  const text = atob(base64);
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  return new Int16Array(bytes.buffer, 0, bytes.length >> 1);
}

/** How many bytes a text of base64 holds, without decoding it. @param {string} base64 */
export function bytesIn(base64) {
  const padding = base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0;
  return (base64.length / 4) * 3 - padding;
}

/** Zero crossings on each side of the middle: about 70 dB of damping with the window below. */
const LOBES = 12;
/** Entries of the table for one sample. */
const STEPS = 64;

/**
 * Reads sound of one rate between its samples, for another rate: a windowed sinc, low-pass
 * at the lower of both rates. Whoever reads moves the position on by `step`, so there is
 * no state to carry and the position counts exactly.
 */
export class Sinc {
  /** @param {number} from rate of the sound read @param {number} to rate wanted */
  constructor(from, to) {
    this.step = from / to;
    // Below half of the lower rate by the width of the slope.
    const cutoff = Math.min(1, to / from) * 0.9;
    /** Samples needed on each side of a position. */
    this.half = Math.ceil(LOBES / cutoff);
    this.table = new Float32Array(this.half * STEPS + 2);
    for (let i = 0; i < this.half * STEPS; i += 1) {
      const x = i / STEPS;
      const phase = Math.PI * cutoff * x;
      const turn = (Math.PI * x) / this.half;
      const blackman = 0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn);
      this.table[i] = cutoff * (x === 0 ? 1 : Math.sin(phase) / phase) * blackman;
    }
  }

  /**
   * The sound at a position; before its start and after its end there is silence.
   * @param {Float32Array} samples @param {number} length how many of them count @param {number} position in samples
   */
  at(samples, length, position) {
    const { half, table } = this;
    const first = Math.max(0, Math.ceil(position - half));
    const last = Math.min(length - 1, Math.floor(position + half));
    let sum = 0;
    for (let i = first; i <= last; i += 1) {
      const place = Math.abs(position - i) * STEPS;
      const below = place | 0;
      sum += samples[i] * (table[below] + (table[below + 1] - table[below]) * (place - below));
    }
    return sum;
  }
}
