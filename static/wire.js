// @ts-check
/**
 * The wire: what the page and the server say to each other, as JSON text frames.
 *
 * Pure. Declares the events, checks them, and turns a change of the text box into
 * `duplex.input.edit` messages. All times `at` are seconds on the session clock; all
 * lengths are Unicode code points, as Python counts them, never UTF-16 units.
 * `tests/wire_cases.json` holds an example of every event, read by Python's tests too.
 *
 * @typedef {"duplex" | "turns"} System
 * @typedef {"adaptive" | number} SliceSeconds
 *
 * @typedef {{input?: {format: {type: "audio/pcm", rate: 16000 | 24000}},
 *   output?: {voice?: string | null, system?: System}}} AudioUpdate
 * @typedef {"strict" | "barge-in"} Baseline
 * @typedef {{type: "session.update", session: {slice_seconds?: SliceSeconds, baseline?: Baseline,
 *   audio?: AudioUpdate}}} SessionUpdate
 * @typedef {{type: "duplex.input.edit", delete: number, insert: string}} InputEdit
 * @typedef {{type: "duplex.input.enter"}} InputEnter
 * @typedef {{type: "response.cancel", response_id?: string}} Cancel
 * @typedef {{type: "input_audio_buffer.append", audio: string}} AudioAppend
 * @typedef {{type: "input_audio_buffer.commit"}} AudioCommit
 * @typedef {{type: "duplex.audio.played", response_id: string, samples: number, playing: boolean}} AudioPlayed
 * @typedef {{type: "duplex.ack", after: number}} Ack
 * @typedef {SessionUpdate | InputEdit | InputEnter | Cancel | AudioAppend | AudioCommit | AudioPlayed | Ack} ClientEvent
 *
 * @typedef {{name: string, offline: boolean, note: string}} Ears
 * @typedef {{id: string, name: string, note: string}} ServerVoice
 * @typedef {{ears: Ears | null, note: string, voices: ServerVoice[], voice: string | null, system: System,
 *   rate: number}} SessionAudio
 * @typedef {{id: string, model: string, parameters: number, aligned: boolean, slice_seconds: SliceSeconds,
 *   tokens_per_second: number, systems: System[], baseline?: Baseline, audio?: SessionAudio,
 *   resume?: {token: string, seconds: number}}} Session
 * @typedef {{type: "session.created", session: Session, at: number}} SessionCreated
 * @typedef {{type: "duplex.slice", system: System, index: number, opened_at: number,
 *   at: number, user: string, idle: boolean, p_idle: number | null}} Slice
 * @typedef {{type: "response.created", system: System, response: {id: string}, at: number}} ResponseCreated
 * @typedef {{type: "response.output_text.delta", system: System, response_id: string,
 *   slice: number, delta: string, at: number}} TextDelta
 * @typedef {{type: "duplex.cut", system: System, response_id: string, slice: number,
 *   at: number, unheard: string}} Cut
 * @typedef {{type: "duplex.yield", system: System, at: number}} Yield
 * @typedef {{type: "response.done", system: System, response_id: string,
 *   status: "completed" | "cancelled", at: number}} ResponseDone
 * @typedef {{type: "duplex.reaction", system: System, from: number, to: number}} Reaction
 * @typedef {{type: "duplex.sealed", characters: number}} Sealed
 * @typedef {{type: "duplex.deaf", system: System, at: number, text: string}} Deaf
 * @typedef {{type: "duplex.pace", system: System, at: number, level: number}} Pace
 * @typedef {{type: "session.updated", session: {audio: SessionAudio}}} SessionUpdated
 * @typedef {{type: "input_audio_buffer.speech_started", at: number, noticed_at: number}} SpeechStarted
 * @typedef {{type: "input_audio_buffer.speech_stopped", at: number, noticed_at: number}} SpeechStopped
 * @typedef {{type: "duplex.hypothesis", at: number, partial: string}} Hypothesis
 * @typedef {{text: string, start: number, end: number, committed_at: number}} SpokenWord
 * @typedef {{type: "conversation.item.input_audio_transcription.delta", at: number, delta: string,
 *   words: SpokenWord[]}} Transcribed
 * @typedef {{type: "response.output_audio.delta", system: System, response_id: string, start: number,
 *   delta: string, characters: [number, number]}} AudioDelta
 * @typedef {{type: "response.output_audio.done", system: System, response_id: string, samples: number}} AudioDone
 * @typedef {{type: "duplex.audio.flush", system: System, response_id: string, samples: number}} AudioFlush
 * @typedef {{type: "duplex.audio.problem", where: "ears" | "mouth", message: string}} AudioProblem
 * @typedef {SessionUpdated | SpeechStarted | SpeechStopped | Hypothesis | Transcribed | AudioDelta | AudioDone
 *   | AudioFlush | AudioProblem} SoundEvent
 * @typedef {{type: "error", error: {code: string, message: string, event_id?: string}}} ServerError
 * @typedef {{type: "duplex.ping", received?: number}} Ping
 * @typedef {"time" | "idle" | "shutdown"} Why
 * @typedef {{type: "duplex.queue", position: number, waiting: number, estimate_seconds: number | null}} Queued
 * @typedef {{type: "duplex.ending", seconds: number, why: Why}} Ending
 * @typedef {{type: "duplex.stays"}} Stays
 * @typedef {{type: "duplex.ended", why: Why}} Ended
 * @typedef {{type: "session.resumed", session: {id: string}, received: number}} SessionResumed
 * @typedef {SessionCreated | Slice | ResponseCreated | TextDelta | Cut | Yield | ResponseDone
 *   | Reaction | Sealed | Deaf | Pace | SoundEvent | ServerError | Ping | Queued | Ending | Stays | Ended} ServerEvent
 */

import { MOUTH_RATE, bytesIn } from "./pcm.js";

/** The most code points one edit may insert. */
export const MAX_INSERT = 4000;

/** Letters of a wrong value that a message shows. */
const MAX_SHOWN = 200;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** @typedef {(value: any) => boolean} Check */

/** @type {Check} */
const isText = (value) => typeof value === "string";
/** @type {Check} */
const isName = (value) => isText(value) && value.length > 0;
/** @type {Check} */
const isTime = (value) => typeof value === "number" && Number.isFinite(value) && value >= 0;
/** @type {Check} */
const isCount = (value) => Number.isInteger(value) && value >= 0;
/** @type {Check} */
const isFlag = (value) => typeof value === "boolean";
/** @type {Check} */
const isSystem = (value) => value === "duplex" || value === "turns";
/** @type {Check} */
const isProbability = (value) => value === null || (isTime(value) && value <= 1);
/** @type {Check} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
/** @type {Check} */
const isSliceSeconds = (value) => value === "adaptive" || (isTime(value) && value > 0);
/** @type {Check} */
const isInsert = (value) => isText(value) && codePoints(value).length <= MAX_INSERT;
/** @type {Check} */
const isPcm = (value) => isText(value) && value.length % 4 === 0 && BASE64.test(value) && bytesIn(value) % 2 === 0;
/** @type {Check} */
const isStretch = (value) => Array.isArray(value) && value.length === 2 && value.every(isCount) && value[0] <= value[1];
/** @type {(check: Check) => Check} */
const isOptional = (check) => (value) => value === undefined || check(value);
/** @type {(check: Check) => Check} */
const isNullOr = (check) => (value) => value === null || check(value);
/** @type {(check: Check) => Check} */
const isListOf = (check) => (value) => Array.isArray(value) && value.every(check);
/** @type {(fields: Record<string, Check>) => Check} */
const isRecord = (fields) => (value) => isObject(value) && problemsOf(value, fields).length === 0;

const isFormat = isRecord({
  type: (value) => value === "audio/pcm",
  rate: (value) => value === 16000 || value === 24000,
});
const isAudioUpdate = isRecord({
  input: isOptional(isRecord({ format: isFormat })),
  output: isOptional(isRecord({ voice: isOptional(isNullOr(isName)), system: isOptional(isSystem) })),
});
const isAudio = isRecord({
  ears: isNullOr(isRecord({ name: isText, offline: isFlag, note: isText })),
  note: isText,
  voices: isListOf(isRecord({ id: isName, name: isText, note: isText })),
  voice: isNullOr(isName),
  system: isSystem,
  rate: (value) => value === MOUTH_RATE,
});
const isSpokenWord = isRecord({ text: isName, start: isTime, end: isTime, committed_at: isTime });

/** @type {Check} */
const isWhy = (value) => value === "time" || value === "idle" || value === "shutdown";
/** @type {Check} */
const isBaseline = (value) => value === "strict" || value === "barge-in";

/** @type {Record<string, Record<string, Check>>} */
const CLIENT_EVENTS = {
  "session.update": {
    session: isRecord({
      slice_seconds: isOptional(isSliceSeconds), baseline: isOptional(isBaseline), audio: isOptional(isAudioUpdate),
    }),
  },
  "input_audio_buffer.append": { audio: (value) => isPcm(value) && value.length > 0 },
  "input_audio_buffer.commit": {},
  "duplex.audio.played": { response_id: isName, samples: isCount, playing: isFlag },
  "duplex.input.edit": { delete: isCount, insert: isInsert },
  "duplex.input.enter": {},
  "response.cancel": { response_id: isOptional(isName) },
  "duplex.ack": { after: isCount },
};

/** @type {Record<string, Record<string, Check>>} */
const SERVER_EVENTS = {
  "session.created": {
    at: isTime,
    session: isRecord({
      id: isName,
      model: isText,
      parameters: isCount,
      aligned: isFlag,
      slice_seconds: isSliceSeconds,
      tokens_per_second: (value) => isTime(value) && value > 0,
      systems: isListOf(isSystem),
      audio: isOptional(isAudio),
      resume: isOptional(isRecord({ token: isName, seconds: isTime })),
    }),
  },
  "session.resumed": { session: isRecord({ id: isName }), received: isCount },
  "session.updated": { session: isRecord({ audio: isAudio }) },
  "input_audio_buffer.speech_started": { at: isTime, noticed_at: isTime },
  "input_audio_buffer.speech_stopped": { at: isTime, noticed_at: isTime },
  "duplex.hypothesis": { at: isTime, partial: isText },
  "conversation.item.input_audio_transcription.delta": { at: isTime, delta: isText, words: isListOf(isSpokenWord) },
  "response.output_audio.delta": {
    system: isSystem, response_id: isName, start: isCount, delta: isPcm, characters: isStretch,
  },
  "response.output_audio.done": { system: isSystem, response_id: isName, samples: isCount },
  "duplex.audio.flush": { system: isSystem, response_id: isName, samples: isCount },
  "duplex.audio.problem": { where: (value) => value === "ears" || value === "mouth", message: isText },
  "duplex.slice": {
    system: isSystem, index: isCount, opened_at: isTime, at: isTime,
    user: isText, idle: isFlag, p_idle: isProbability,
  },
  "response.created": { system: isSystem, response: isRecord({ id: isName }), at: isTime },
  "response.output_text.delta": {
    system: isSystem, response_id: isName, slice: isCount, delta: isText, at: isTime,
  },
  "duplex.cut": {
    system: isSystem, response_id: isName, slice: isCount, at: isTime, unheard: isText,
  },
  "duplex.yield": { system: isSystem, at: isTime },
  "response.done": {
    system: isSystem, response_id: isName, at: isTime,
    status: (value) => value === "completed" || value === "cancelled",
  },
  "duplex.reaction": { system: isSystem, from: isTime, to: isTime },
  "duplex.sealed": { characters: isCount },
  "duplex.deaf": { system: isSystem, at: isTime, text: isText },
  "duplex.pace": { system: isSystem, at: isTime, level: isCount },
  "error": { error: isRecord({ code: isText, message: isText }) },
  "duplex.ping": { received: isOptional(isCount) },
  "duplex.queue": { position: isCount, waiting: isCount, estimate_seconds: isNullOr(isTime) },
  "duplex.ending": { seconds: isTime, why: isWhy },
  "duplex.stays": {},
  "duplex.ended": { why: isWhy },
};
/** What every event of ours may have beside that. @type {Record<string, Check>} */
const NUMBERED = {
  seq: isOptional((value) => isCount(value) && value > 0),
  event_id: isOptional(isText),
};

/** @param {any} event @param {Record<string, Check>} fields @returns {string[]} */
function problemsOf(event, fields) {
  return Object.entries(fields)
    .filter(([name, check]) => !check(event[name]))
    .map(([name]) => `${name} is ${JSON.stringify(event[name])?.slice(0, MAX_SHOWN) ?? "missing"}`);
}

/**
 * What is wrong with an event, as sentences; an empty list when nothing is.
 * Fields that are not known are allowed.
 * @param {any} event @param {"client" | "server"} direction @returns {string[]}
 */
export function problemsWith(event, direction) {
  const events = direction === "client" ? CLIENT_EVENTS : SERVER_EVENTS;
  if (!isObject(event)) return ["an event is a JSON object"];
  if (!isText(event.type)) return ["type is missing"];
  if (!Object.hasOwn(events, event.type)) return [`type ${event.type} is not known`];
  return problemsOf(event, direction === "client" ? { ...events[event.type], ...NUMBERED } : events[event.type]);
}

/**
 * What the server said. A type that is not known is ignored (null), so that an older page
 * goes on working with a newer server.
 * @param {any} event the parsed frame @returns {ServerEvent | SessionResumed | null}
 * @throws {Error} a known event has a wrong field
 */
export function understood(event) {
  if (isObject(event) && isText(event.type) && !Object.hasOwn(SERVER_EVENTS, event.type)) return null;
  const problems = problemsWith(event, "server");
  if (problems.length) throw new Error(`${event?.type ?? "frame"}: ${problems.join(", ")}`);
  return event;
}

/** @param {string} text @returns {string[]} */
export function codePoints(text) {
  return Array.from(text);
}

/** The text box holds one line of well-formed text. @param {string} text @returns {string} */
export function cleanText(text) {
  return text.replace(/\r\n?|[\n\t\u2028\u2029]/g, " ").replace(/[\p{Cc}\p{Surrogate}]/gu, "");
}

/** How many code points two lists share at their start. @param {string[]} a @param {string[]} b */
export function commonPrefix(a, b) {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n += 1;
  return n;
}

/**
 * The edit that makes `next` of `prev`: code points taken from the end, then text
 * appended. A change in the middle deletes back to it and types the rest again.
 * @param {string} prev @param {string} next
 * @returns {{delete: number, insert: string} | null} null when they are equal
 */
export function diffEdit(prev, next) {
  if (prev === next) return null;
  const before = codePoints(prev);
  const after = codePoints(next);
  const kept = commonPrefix(before, after);
  return { delete: before.length - kept, insert: after.slice(kept).join("") };
}

/**
 * The messages for a change of the text box; a long paste becomes several.
 * @param {string} prev @param {string} next @returns {InputEdit[]}
 */
export function editMessages(prev, next) {
  const edit = diffEdit(prev, next);
  if (!edit) return [];
  const insert = codePoints(edit.insert);
  /** @type {InputEdit[]} */
  const messages = [];
  for (let i = 0; i === 0 || i < insert.length; i += MAX_INSERT) {
    messages.push({
      type: "duplex.input.edit",
      delete: i === 0 ? edit.delete : 0,
      insert: insert.slice(i, i + MAX_INSERT).join(""),
    });
  }
  return messages;
}

/**
 * The server sealed the first `characters` of the text it had. The person may have
 * changed that text meanwhile, so what it sealed is looked up in the texts sent before:
 * the newest whose start ends in the words of the last slice. Only what of it is still in
 * the box leaves the box: the server applies the edits under way to what comes after the
 * seal, and both end with the same text.
 * @param {string[]} sent texts sent, oldest first, the current one last
 * @param {number} characters
 * @param {string} [heard] the words of the person's last slice, which a seal ends with
 * @returns {{said: string, removed: number}} the sealed text; code points to drop from the box
 */
export function sealText(sent, characters, heard = "") {
  const now = codePoints(sent.at(-1) ?? "");
  const starts = sent.map(codePoints).filter((text) => text.length >= characters).map((text) => text.slice(0, characters));
  const sealed = starts.findLast((text) => words(text.join("")).endsWith(words(heard))) ?? starts.at(-1) ?? now;
  return { said: sealed.join(""), removed: commonPrefix(sealed, now) };
}

/** @param {string} text */
function words(text) {
  return text.trim().replace(/\s+/g, " ");
}
