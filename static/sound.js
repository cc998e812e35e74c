// @ts-check
/**
 * What was heard and what was played, for drawing: the part of the state that a talk in
 * writing does not have.
 *
 * Pure: called by `model.reduce` with the server's events about sound and with those of
 * the page (`client.microphone`, `client.level`, `client.played`, `client.lowered`,
 * `client.restored`, `client.echo`). Spoken words wait here, as typed ones do in
 * `state.unsliced`, until a slice takes them.
 *
 * @typedef {import("./wire.js").System} System
 * @typedef {import("./model.js").State} State
 * @typedef {import("./model.js").Item} Item
 * @typedef {import("./playback-worklet.js").Reason} Reason
 *
 * @typedef {{type: "client.microphone", at: number, on: boolean}} ClientMicrophone
 * @typedef {{type: "client.level", at: number, level: number}} ClientLevel  a frame of the microphone begins at `at`
 * @typedef {{type: "client.played", at: number, system: System, response_id: string, samples: number, playing: boolean,
 *   reason?: Reason, levels: number[]}} ClientPlayed  the last level ends at `at`
 * @typedef {{type: "client.lowered", at: number}} ClientLowered
 * @typedef {{type: "client.restored", at: number}} ClientRestored
 * @typedef {{type: "client.echo", heard: boolean, coupling: number, before: number, during: number}} ClientEcho
 * @typedef {ClientMicrophone | ClientLevel | ClientPlayed | ClientLowered | ClientRestored | ClientEcho} ClientSound
 *
 * @typedef {{start: number, end: number, characters: [number, number]}} Stretch  samples, and the characters they say
 * @typedef {{samples: number, playing: boolean, stretches: Stretch[]}} Played  of an answer
 * @typedef {{at: number, text: string, end: number}} Shown  a piece of an answer, and where in the answer it ends
 */
import { FRAME_SECONDS, bytesIn } from "./pcm.js";
import { Wave } from "./waves.js";
import { codePoints } from "./wire.js";

/** A flush this long after a model's stop is still its consequence. */
const CONSEQUENCE_SECONDS = 5;

export class Sound {
  constructor() {
    this.audio = /** @type {import("./wire.js").SessionAudio | null} */ (null);
    this.microphone = false;
    /** @type {Record<"you" | System, Wave>} */
    this.waves = { you: new Wave(), duplex: new Wave(), turns: new Wave() };
    /** The stretch of speech under way. */
    this.voice = /** @type {Item | null} */ (null);
    /** Words not yet certain. */
    this.partial = /** @type {Item | null} */ (null);
    /** Certain words that are in no slice yet. */
    this.spoken = /** @type {Item | null} */ (null);
    /** @type {import("./wire.js").SpokenWord[]} */
    this.words = [];
    /** Where the last slice with spoken words closed: what waits stands behind it. */
    this.slicedUntil = 0;
    /** The last entry of `state.said` is still being spoken. */
    this.saying = false;
    /** @type {Map<string, Played>} by `system:response_id` */
    this.played = new Map();
    /** @type {Map<string, Shown[]>} by `system:response_id` */
    this.texts = new Map();
    this.lowered = /** @type {Item | null} */ (null);
    /** What the self-echo test found. */
    this.echo = /** @type {Omit<ClientEcho, "type"> | null} */ (null);
  }
}

/** @param {State} state @param {import("./wire.js").SoundEvent | ClientSound} event */
export function reduceSound(state, event) {
  const { sound } = state;
  switch (event.type) {
    case "session.updated":
      sound.audio = event.session.audio;
      break;
    case "client.microphone":
      sound.microphone = event.on;
      if (!event.on) stopped(state, event.at, event.at);
      break;
    case "client.level":
      sound.waves.you.add(event.at, event.level);
      if (sound.voice) state.scale.active(event.at);
      break;
    case "input_audio_buffer.speech_started":
      state.scale.active(event.at);
      stopped(state, event.at, event.at);
      sound.voice = state.add({ lane: "you", kind: "voice", from: event.at, to: null, noticed: event.noticed_at });
      break;
    case "input_audio_buffer.speech_stopped":
      stopped(state, event.at, event.noticed_at);
      break;
    case "duplex.hypothesis":
      guessed(state, event);
      break;
    case "conversation.item.input_audio_transcription.delta":
      transcribed(state, event);
      break;
    case "response.output_audio.delta": {
      const samples = bytesIn(event.delta) / 2;
      playedOf(state, event.system, event.response_id).stretches.push(
        { start: event.start, end: event.start + samples, characters: event.characters });
      break;
    }
    case "duplex.audio.flush": {
      const played = playedOf(state, event.system, event.response_id);
      played.stretches = played.stretches.filter((stretch) => stretch.start < event.samples);
      break;
    }
    case "client.played":
      played(state, event);
      break;
    case "client.lowered":
      sound.lowered = state.add({ lane: "you", kind: "lowered", from: event.at, to: null });
      break;
    case "client.restored":
      if (sound.lowered) sound.lowered.to = event.at;
      sound.lowered = null;
      break;
    case "client.echo": {
      const { heard, coupling, before, during } = event;
      sound.echo = { heard, coupling, before, during };
      break;
    }
    default:
      break;
  }
}

/** @param {State} state @param {number} at @param {number} noticed */
function stopped(state, at, noticed) {
  const { sound } = state;
  if (!sound.voice) return;
  state.scale.active(at);
  sound.voice.to = Math.max(at, sound.voice.from);
  sound.voice.noticedEnd = noticed;
  sound.voice = null;
  sound.saying = false;
}

/** @param {State} state @param {import("./wire.js").Hypothesis} event */
function guessed(state, { at, partial }) {
  const { sound } = state;
  const text = partial.trim();
  if (!text) {
    state.remove(sound.partial);
    sound.partial = null;
    return;
  }
  state.scale.active(at);
  // Behind the last certain word; the recogniser does not say when the uncertain ones were spoken.
  const from = Math.min(at, Math.max(sound.words.at(-1)?.end ?? 0, sound.voice?.from ?? at, sound.slicedUntil));
  sound.partial ??= state.add({ lane: "you", kind: "partial", from, to: null });
  sound.partial.from = Math.max(sound.partial.from, from);
  sound.partial.text = text;
}

/** @param {State} state @param {import("./wire.js").Transcribed} event */
function transcribed(state, { at, delta, words }) {
  const { sound } = state;
  const text = delta.trim();
  if (!text) return;
  state.scale.active(at);
  sound.words.push(...words);
  if (sound.partial) sound.partial.from = Math.max(sound.partial.from, words.at(-1)?.end ?? at);
  showSpoken(state);
  if (sound.saying) state.said[state.said.length - 1] += ` ${text}`;
  else state.said.push(text);
  sound.saying = true;
  if (!state.waiting && !state.speaks("turns", at)) {
    state.waiting = state.add({ lane: "turns", kind: "waiting", from: words[0]?.start ?? at, to: null, spoken: words });
  }
}

/** The block of certain words that are in no slice yet. @param {State} state */
function showSpoken(state) {
  const { sound } = state;
  const [first] = sound.words;
  if (!first) {
    state.remove(sound.spoken);
    sound.spoken = null;
    return;
  }
  sound.spoken ??= state.add({ lane: "you", kind: "spoken", from: first.start, to: null });
  sound.spoken.from = Math.max(first.start, sound.slicedUntil);
  sound.spoken.text = sound.words.map((word) => word.text).join(" ");
  sound.spoken.spoken = [...sound.words];
}

/**
 * A slice takes its words: those spoken come from here, the others were typed.
 * @param {State} state @param {string} user the slice's words @param {number} at where it closed
 * @returns {{spoken: import("./wire.js").SpokenWord[], typed: string[]}}
 */
export function takeSpoken(state, user, at) {
  const { sound } = state;
  /** @type {import("./wire.js").SpokenWord[]} */
  const spoken = [];
  /** @type {string[]} */
  const typed = [];
  for (const word of user.split(/\s+/)) {
    if (sound.words.length && plain(sound.words[0].text) === plain(word)) {
      spoken.push(/** @type {import("./wire.js").SpokenWord} */ (sound.words.shift()));
    } else {
      typed.push(word);
    }
  }
  if (spoken.length) {
    sound.slicedUntil = at;
    showSpoken(state);
    if (sound.partial) sound.partial.from = Math.max(sound.partial.from, at);
  }
  return { spoken, typed };
}

/** A word as a recogniser may give it, before somebody sets marks. @param {string} word */
function plain(word) {
  return word.toLowerCase().replace(/[.,;:?!"“”]/g, "");
}

/** An answer's text grows. @param {State} state @param {import("./wire.js").TextDelta} event */
export function textGrew(state, { system, response_id, at, delta }) {
  const key = `${system}:${response_id}`;
  const text = state.sound.texts.get(key) ?? [];
  text.push({ at, text: delta, end: (text.at(-1)?.end ?? 0) + codePoints(delta).length });
  state.sound.texts.set(key, text);
}

/** What was to be shown after a cut is no longer part of the answer. @param {State} state @param {import("./wire.js").Cut} event */
export function textCut(state, { system, response_id, at }) {
  const text = state.sound.texts.get(`${system}:${response_id}`);
  while (text?.length && text[text.length - 1].at > at) text.pop();
}

/** @param {State} state @param {System} system @param {string} id @returns {Played} */
function playedOf(state, system, id) {
  const key = `${system}:${id}`;
  const found = state.sound.played.get(key) ?? { samples: 0, playing: false, stretches: [] };
  state.sound.played.set(key, found);
  return found;
}

/** @param {State} state @param {ClientPlayed} event */
function played(state, event) {
  const { system, response_id, samples, playing, at, levels } = event;
  const answer = playedOf(state, system, response_id);
  answer.samples = samples;
  answer.playing = playing;
  if (playing || levels.length) state.scale.active(at);
  levels.forEach((level, i) => state.sound.waves[system].add(at - (levels.length - i) * FRAME_SECONDS, level));
  if (event.reason !== "flushed") return;
  const heard = heardOf(state, event);
  // A cut may come after the yield and speak of an earlier moment.
  const stops = state.items.filter((item) => item.kind === "stop" && item.lane === system && item.from <= at);
  const after = at - Math.max(...stops.map((item) => item.from));
  state.add({ lane: system, kind: "hush", from: at, to: at, response: response_id, samples, after: after < CONSEQUENCE_SECONDS ? after : undefined });
  if (heard) {
    state.add({ lane: system, kind: "heardend", from: heard.at, to: heard.at, response: response_id, samples, ...heard });
  }
}

/**
 * Up to where an answer was heard: in characters, in words, and when those were due.
 * @param {State} state @param {{system: System, response_id: string, samples: number}} event
 * @returns {{at: number, text: string, characters: number, of: number} | null} null: nothing is known of its sound
 */
export function heardOf(state, { system, response_id, samples }) {
  const key = `${system}:${response_id}`;
  const text = state.sound.texts.get(key) ?? [];
  const stretch = state.sound.played.get(key)?.stretches.findLast(({ start }) => start <= samples);
  if (!stretch || !text.length) return null;
  const [from, to] = stretch.characters;
  const share = stretch.end > stretch.start ? (samples - stretch.start) / (stretch.end - stretch.start) : 1;
  const of = text[text.length - 1].end;
  const characters = Math.min(of, Math.floor(from + Math.min(1, share) * (to - from)));
  const piece = text.find(({ end }) => end >= characters) ?? text[text.length - 1];
  const length = codePoints(piece.text).length;
  const at = piece.at + state.secondsPerToken * (length ? 1 - (piece.end - characters) / length : 0);
  const heard = codePoints(text.map((part) => part.text).join("")).slice(0, characters).join("");
  return { at, text: heard, characters, of };
}
