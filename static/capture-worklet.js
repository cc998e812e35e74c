// @ts-check
/**
 * The microphone's worklet: whatever rate the browser records at becomes 20 ms frames.
 *
 * Posts {samples: Int16Array(320) at 16 kHz, level: number (root mean square, 0 to 1),
 * time: number (the context's seconds at the end of the frame)}. Takes no messages.
 * `Framer` is pure and tested without a browser.
 */
import { EAR_RATE, FRAME_SAMPLES, Sinc, levelOf, toPcm } from "./pcm.js";

/** @typedef {{samples: Int16Array, level: number}} Frame */

export class Framer {
  /** @param {number} rate of what is pushed */
  constructor(rate) {
    this.sinc = new Sinc(rate, EAR_RATE);
    /** What is still needed of the sound pushed, from `half` samples before the next position. */
    this.kept = new Float32Array(8192);
    this.length = this.sinc.half; // silence before the first sample
    this.position = this.sinc.half;
    this.frame = new Float32Array(FRAME_SAMPLES);
    this.filled = 0;
  }

  /** @param {Float32Array} samples at most 4096 @returns {Frame[]} the frames that became full */
  push(samples) {
    const { sinc, kept } = this;
    kept.set(samples, this.length);
    this.length += samples.length;
    /** @type {Frame[]} */
    const frames = [];
    for (; this.position + sinc.half < this.length; this.position += sinc.step) {
      this.frame[this.filled] = sinc.at(kept, this.length, this.position);
      this.filled += 1;
      if (this.filled < FRAME_SAMPLES) continue;
      this.filled = 0;
      frames.push({ samples: toPcm(this.frame), level: levelOf(this.frame) });
    }
    const over = Math.max(0, Math.floor(this.position) - sinc.half);
    kept.copyWithin(0, over, this.length);
    this.length -= over;
    this.position -= over;
    return frames;
  }
}

// Only a worklet has these names, and the types of a page do not know them.
const scope = /** @type {any} */ (globalThis);
if (scope.registerProcessor) {
  scope.registerProcessor("duplex-capture", class extends scope.AudioWorkletProcessor {
    constructor() {
      super();
      this.framer = new Framer(scope.sampleRate);
    }

    /** @param {Float32Array[][]} inputs */
    process(inputs) {
      const [channel] = inputs[0];
      if (!channel) return true;
      for (const frame of this.framer.push(channel)) {
        this.port.postMessage({ ...frame, time: scope.currentTime }, [frame.samples.buffer]);
      }
      return true;
    }
  });
}
