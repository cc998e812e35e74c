/**
 * Runs in a page before its own code and records what its microphone gives, what its voice
 * plays and what its loudspeaker gets, sample by sample on one clock; and beside it what
 * travels on its WebSocket and what its playback worklet reports, with times. `heard.py`
 * fetches it.
 */
(() => {
  const SIZE = 4096;
  const MICROPHONE = 0;
  const LOUDSPEAKER = 1;
  const VOICE = 2;
  const heard = {
    rate: 0,
    /** {frame: number of its first sample, block: Int16Array of three tracks} */
    blocks: [],
    /** [seconds of the sound context, milliseconds of the page] */
    clock: [],
    /** [milliseconds of the page, text], received and sent */
    events: [],
    sent: [],
    /** [seconds of the sound context, report] */
    reports: [],
    get seconds() {
      return (this.blocks.length * SIZE) / (this.rate || 1);
    },
    /** A track as base64 of int16, blocks that are missing as silence. */
    track(number) {
      const first = this.blocks[0]?.frame ?? 0;
      const last = this.blocks.at(-1)?.frame ?? 0;
      const whole = new Int16Array(this.blocks.length ? last - first + SIZE : 0);
      for (const { frame, block } of this.blocks) whole.set(block.subarray(number * SIZE, (number + 1) * SIZE), frame - first);
      const bytes = new Uint8Array(whole.buffer);
      let text = "";
      for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
      return btoa(text);
    },
  };
  globalThis.heard = heard;

  const worklet = `registerProcessor("heard", class extends AudioWorkletProcessor {
    constructor() { super(); this.filled = 0; this.block = new Int16Array(3 * ${SIZE}); }
    process(inputs) {
      const count = 128;
      for (let track = 0; track < 3; track += 1) {
        const channel = inputs[track][0];
        if (!channel) continue;
        const at = track * ${SIZE} + this.filled;
        for (let i = 0; i < count; i += 1) this.block[at + i] = Math.round(32767 * Math.max(-1, Math.min(1, channel[i])));
      }
      this.filled += count;
      if (this.filled === ${SIZE}) {
        const { block } = this;
        this.port.postMessage({ frame: currentFrame + count - ${SIZE}, block }, [block.buffer]);
        this.block = new Int16Array(3 * ${SIZE});
        this.filled = 0;
      }
      return true;
    }
  });`;

  const { connect } = AudioNode.prototype;
  const { addModule } = AudioWorklet.prototype;
  const Worklet = globalThis.AudioWorkletNode;
  const names = new WeakMap();
  const ready = new WeakSet();
  const recorders = new WeakMap();

  AudioWorklet.prototype.addModule = async function (...given) {
    if (!ready.has(this)) {
      ready.add(this);
      await addModule.call(this, URL.createObjectURL(new Blob([worklet], { type: "text/javascript" })));
    }
    return addModule.apply(this, given);
  };

  globalThis.AudioWorkletNode = class extends Worklet {
    constructor(context, name, options) {
      super(context, name, options);
      names.set(this, name);
      if (name !== "duplex-playback") return;
      this.port.addEventListener("message", ({ data }) => {
        const { levels, ...report } = data;
        heard.reports.push([data.time, report]);
      });
    }
  };

  const recorderOf = (context) => {
    let recorder = recorders.get(context);
    if (!recorder) {
      recorder = new Worklet(context, "heard", {
        numberOfInputs: 3, numberOfOutputs: 1, outputChannelCount: [1],
        channelCount: 1, channelCountMode: "explicit", channelInterpretation: "speakers",
      });
      recorders.set(context, recorder);
      heard.rate = context.sampleRate;
      recorder.port.onmessage = ({ data }) => heard.blocks.push(data);
      connect.call(recorder, context.destination);
      setInterval(() => heard.clock.push([context.currentTime, performance.now()]), 20);
    }
    return recorder;
  };

  AudioNode.prototype.connect = function (to, ...given) {
    const result = connect.call(this, to, ...given);
    const inputs = [];
    if (this instanceof MediaStreamAudioSourceNode) inputs.push(MICROPHONE);
    if (to instanceof AudioDestinationNode) inputs.push(LOUDSPEAKER);
    if (names.get(this) === "duplex-playback") inputs.push(VOICE);
    for (const input of inputs) connect.call(this, recorderOf(this.context), 0, input);
    return result;
  };

  const Socket = globalThis.WebSocket;
  globalThis.WebSocket = class extends Socket {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", ({ data }) => heard.events.push([performance.now(), data]));
    }

    send(data) {
      // Not the sound of the microphone: it is recorded already.
      if (!data.includes('"input_audio_buffer.append"')) heard.sent.push([performance.now(), data]);
      super.send(data);
    }
  };
})();
