// @ts-check
/**
 * The microphone: asks for it, cuts its sound into frames, says in plain words what is wrong.
 */

/** @typedef {{samples: Int16Array, level: number, time: number}} Frame  `time`: the context's seconds at its end */
/** @typedef {{id: string, name: string}} Device */
/**
 * @typedef {object} Listeners
 * @property {(frame: Frame) => void} onFrame
 * @property {(problem: string) => void} onEnded  it stopped by itself
 * @property {(problem: string) => void} onMuted  "" when it is heard again
 * @property {() => void} onDevices  others are there now
 */

/** What a browser's error means, and what to do. @param {string} name of the error @returns {string} */
export function wordsFor(name) {
  switch (name) {
    case "NotAllowedError":
    case "SecurityError":
      return "The browser does not let this page use the microphone. Allow it beside the address, then press Speak again; until then, type.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No microphone was found. Connect one and press Speak again; until then, type.";
    case "NotReadableError":
    case "AbortError":
      return "The microphone cannot be opened; another program may be using it. Close that and press Speak again; until then, type.";
    case "InsecureContext":
      return "Browsers give the microphone only to secure pages: open this one with https, or on this machine as http://localhost. Until then, type.";
    case "Unsupported":
      return "This browser has no audio worklets: a current Chrome, Edge, Firefox or Safari has them. Until then, type.";
    default:
      return `The microphone could not be opened (${name}). Until it can, type.`;
  }
}

export class Microphone {
  /** @param {Listeners} listeners */
  constructor(listeners) {
    this.listeners = listeners;
    /** @type {Device[]} */
    this.devices = [];
    this.device = "";
    this.stream = /** @type {MediaStream | null} */ (null);
    /** @type {AudioNode[]} */
    this.nodes = [];
    this.watching = false;
  }

  get on() {
    return this.stream !== null;
  }

  /**
   * @param {AudioContext} context with the capture worklet loaded
   * @throws {Error} whose message is in plain words
   */
  async start(context) {
    this.stop();
    const stream = await this.#open();
    this.stream = stream;
    const [track] = stream.getAudioTracks();
    track.addEventListener("ended", () => {
      if (stream !== this.stream) return;
      this.stop();
      this.listeners.onEnded("The microphone is gone: unplugged, or taken back by the browser. Press Speak to try again; until then, type.");
    });
    track.addEventListener("mute", () => this.#muted(stream, "The system has muted the microphone: nothing is heard until it is unmuted there."));
    track.addEventListener("unmute", () => this.#muted(stream, ""));
    this.device = track.getSettings().deviceId ?? "";
    const source = context.createMediaStreamSource(stream);
    const frames = new AudioWorkletNode(context, "duplex-capture", { numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [1] });
    frames.port.onmessage = ({ data }) => {
      if (stream === this.stream) this.listeners.onFrame(data);
    };
    // Its output is silence; but only what leads to a destination runs in every browser.
    source.connect(frames).connect(context.destination);
    this.nodes = [source, frames];
    await this.#look();
  }

  stop() {
    for (const node of this.nodes) node.disconnect();
    this.nodes = [];
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
  }

  /** @returns {Promise<MediaStream>} */
  async #open() {
    if (!isSecureContext || !navigator.mediaDevices) throw new Error(wordsFor("InsecureContext"));
    const wanted = { echoCancellation: true, noiseSuppression: true, autoGainControl: false, channelCount: 1 };
    try {
      return await navigator.mediaDevices.getUserMedia({ audio: this.device ? { ...wanted, deviceId: { exact: this.device } } : wanted });
    } catch (error) {
      const { name } = /** @type {Error} */ (error);
      if (!this.device || name === "NotAllowedError") throw new Error(wordsFor(name));
      this.device = ""; // the one chosen is gone: take any
      return this.#open();
    }
  }

  /** Which microphones there are; their names are known only once one was allowed. */
  async #look() {
    const all = await navigator.mediaDevices.enumerateDevices();
    this.devices = all.filter(({ kind, deviceId }) => kind === "audioinput" && deviceId)
      .map(({ deviceId, label }, i) => ({ id: deviceId, name: label || `microphone ${i + 1}` }));
    this.listeners.onDevices();
    if (this.watching) return;
    this.watching = true;
    navigator.mediaDevices.addEventListener("devicechange", () => void this.#look());
  }

  /** @param {MediaStream} stream @param {string} problem */
  #muted(stream, problem) {
    if (stream === this.stream) this.listeners.onMuted(problem);
  }
}
