// @ts-check
/**
 * What happened in the session, for drawing: the page's only state.
 *
 * Pure: `reduce(state, event)` takes the server's events and the page's own
 * (`client.edit`, `client.enter`, `client.said`, and those of `sound.js`) and changes the
 * state in place; `view.js` says what of it is to be seen at a moment. No clock is read and no DOM is touched,
 * so a test plays an hour in a second.
 *
 * @typedef {import("./wire.js").System} System
 * @typedef {"you" | System} Lane
 * @typedef {"typing" | "heard" | "enter" | "idle" | "speech" | "stop" | "struck" | "reaction"
 *   | "waiting" | "deaf" | "voice" | "partial" | "spoken" | "lowered" | "hush" | "heardend"} Kind
 *
 * @typedef {{at: number, text: string}} Word
 *
 * @typedef {object} Item  something that stands on a lane
 * @property {string} key
 * @property {Lane} lane
 * @property {Kind} kind
 * @property {number} from  seconds
 * @property {number | null} to  seconds; null while it goes on
 * @property {string} [text]
 * @property {Word[]} [words]  of speech: what is shown when
 * @property {string} [response]
 * @property {number} [slice]
 * @property {number | null} [p_idle]
 * @property {boolean} [idle]
 * @property {boolean} [cut]
 * @property {boolean} [yielded]
 * @property {boolean} [resaid]  cut, and then said all the same: the model went on
 * @property {boolean} [rewound]  typed away again before the model had answered
 * @property {import("./wire.js").SpokenWord[]} [spoken]  of its words, those that were spoken; of a wait, that it is for a pause and not for Enter
 * @property {number} [noticed]  when the server noticed that a voice began, seconds
 * @property {number} [noticedEnd]  when it noticed that the voice ended
 * @property {number} [samples]  of the answer that were played
 * @property {number} [characters]  of the answer that were heard
 * @property {number} [of]  characters the answer has
 * @property {number} [after]  seconds after the model's stop
 *
 * @typedef {{type: "client.edit", at: number, delete: number, insert: string, text: string}} ClientEdit
 * @typedef {{type: "client.enter", at: number}} ClientEnter
 * @typedef {{type: "client.said", text: string}} ClientSaid
 * @typedef {import("./wire.js").ServerEvent | ClientEdit | ClientEnter | ClientSaid
 *   | import("./sound.js").ClientSound} Event
 *
 * @typedef {Word & {struck: boolean, settled?: boolean}} Part  a strike is settled once it is
 *   clear that the model did not say the words after all
 *
 * @typedef {object} Answer  a response, or the part of it between two things the person said
 * @property {string} id
 * @property {number} at
 * @property {Part[]} parts
 * @property {"speaking" | "completed" | "cancelled"} status
 *
 * @typedef {{kind: "you", key: string, at: number, text: string}
 *   | {kind: "answer", key: string, answer: Answer}} Turn
 */
import { TimeScale } from "./clock.js";
import { Sound, reduceSound, takeSpoken, textCut, textGrew } from "./sound.js";
import { codePoints } from "./wire.js";

/** Two marks this near belong to one moment (a cut and the yield that caused it). */
const SAME_MOMENT_SECONDS = 0.6;
/** Keys of one unheard sentence are no further apart. */
const DEAF_GAP_SECONDS = 1.5;

export class State {
  constructor() {
    this.session = /** @type {import("./wire.js").Session | null} */ (null);
    /** Grows with every event: nothing is to be drawn anew while it stays. */
    this.version = 0;
    this.scale = new TimeScale();
    /** @type {Item[]} in order of arrival */
    this.items = [];
    /** @type {Map<string, import("./wire.js").Slice>} by `system:index` */
    this.slices = new Map();
    /** @type {Map<string, Answer>} by `system:response_id`; the part of it under way */
    this.answers = new Map();
    /** @type {Record<System, Turn[]>} */
    this.talk = { duplex: [], turns: [] };
    /** @type {Record<System, number[]>} seconds from the last key to the first word */
    this.reactions = { duplex: [], turns: [] };
    /** @type {string[]} what the person said, sealed */
    this.said = [];
    /** The words of the person's last slice. */
    this.heard = "";
    /** Typed, and not in a slice yet. */
    this.unsliced = "";
    /** @type {{item: Item, raw: string}[]} slices that were only listened to: an edit may reach them */
    this.open_slices = [];
    this.typing = /** @type {Item | null} */ (null);
    this.waiting = /** @type {Item | null} */ (null);
    this.deaf = /** @type {Item | null} */ (null);
    this.counter = 0;
    /** What was spoken and played. */
    this.sound = new Sound();
  }

  get secondsPerToken() {
    return 1 / (this.session?.tokens_per_second ?? 5);
  }

  /** @param {Omit<Item, "key">} item @returns {Item} */
  add(item) {
    this.counter += 1;
    const added = { ...item, key: `${item.kind}-${this.counter}` };
    this.items.push(added);
    return added;
  }

  /** @param {Item | null} item */
  remove(item) {
    const index = item ? this.items.lastIndexOf(item) : -1;
    if (index >= 0) this.items.splice(index, 1);
  }

  /** Whether a model's words are still coming at `at`. @param {System} system @param {number} at */
  speaks(system, at) {
    return isSpeaking(this, system, at);
  }
}

/** @param {State} state @param {Event} event */
export function reduce(state, event) {
  // The microphone's levels come for as long as it is on: in silence they wake nothing.
  if (event.type !== "client.level" || !state.scale.resting(event.at)) state.version += 1;
  switch (event.type) {
    case "session.created":
      state.session = event.session;
      state.sound.audio = event.session.audio ?? null;
      break;
    case "client.edit":
      typed(state, event);
      break;
    case "client.enter":
      state.scale.active(event.at);
      state.add({ lane: "you", kind: "enter", from: event.at, to: event.at });
      if (state.waiting) state.waiting.to = event.at;
      state.waiting = null;
      break;
    case "client.said":
      if (event.text.trim()) {
        state.said.push(event.text.trim());
        state.sound.saying = false;
      }
      state.open_slices = [];
      break;
    case "duplex.slice":
      sliced(state, event);
      break;
    case "response.created":
      answerOf(state, event.system, event.response.id, event.at);
      break;
    case "response.output_text.delta":
      spoken(state, event);
      break;
    case "duplex.cut":
      cut(state, event);
      break;
    case "duplex.yield":
      stopAt(state, event.system, event.at).yielded = true;
      settle(state, event.system);
      break;
    case "response.done": {
      const answer = state.answers.get(`${event.system}:${event.response_id}`);
      if (answer) answer.status = event.status;
      settle(state, event.system);
      break;
    }
    case "duplex.reaction":
      state.reactions[event.system].push(event.to - event.from);
      state.add({ lane: event.system, kind: "reaction", from: event.from, to: event.to });
      break;
    case "duplex.deaf":
      unheard(state, event);
      break;
    case "duplex.sealed":
    case "duplex.pace":
    case "duplex.ping":
    case "duplex.queue":
    case "duplex.ending":
    case "duplex.stays":
    case "duplex.ended":
    case "error":
      break;
    default:
      reduceSound(state, event);
  }
}

/** @param {State} state @param {ClientEdit} event */
function typed(state, event) {
  state.scale.active(event.at);
  let unsliced = codePoints(state.unsliced);
  while (event.delete > unsliced.length && state.open_slices.length) {
    const slice = /** @type {{item: Item, raw: string}} */ (state.open_slices.pop());
    slice.item.rewound = true;
    unsliced = [...codePoints(slice.raw), ...unsliced];
  }
  state.unsliced = unsliced.slice(0, Math.max(0, unsliced.length - event.delete)).join("") + event.insert;
  showTyping(state, event.at);

  const text = event.text.trim();
  const stops = state.session?.baseline === "barge-in"; // it hears, and a pause ends a turn
  if (text && !stops && isSpeaking(state, "turns", event.at)) {
    state.deaf = deafAt(state, "turns", event.at);
  } else if (text && !state.waiting) {
    state.waiting = state.add({ lane: "turns", kind: "waiting", from: event.at, to: null, ...(stops && { spoken: [] }) });
  } else if (!text && event.delete && state.waiting && !heardSince(state, state.waiting.from)) {
    state.waiting.to = event.at;
    state.waiting = null;
  }
}

/** @param {State} state @param {number} at */
function heardSince(state, at) {
  return state.open_slices.length > 0 || state.items.some((i) => i.kind === "heard" && !i.rewound && (i.to ?? at) > at);
}

/** The block under the person's fingers: what is typed and in no slice yet. @param {State} state @param {number} at */
function showTyping(state, at) {
  const text = state.unsliced.trim();
  if (text && !state.typing) state.typing = state.add({ lane: "you", kind: "typing", from: at, to: null });
  if (text && state.typing) state.typing.text = text;
  if (!text) {
    state.remove(state.typing);
    state.typing = null;
  }
}

/** @param {State} state @param {import("./wire.js").Slice} event */
function sliced(state, event) {
  state.slices.set(`${event.system}:${event.index}`, event);
  const { system, at, opened_at, index, idle, p_idle } = event;
  const user = event.user.trim();
  if (user || !idle) state.scale.active(at);
  if (user) {
    const turns = state.talk[system];
    const last = turns.at(-1);
    if (last?.kind === "you") last.text = `${last.text} ${user}`;
    else turns.push({ kind: "you", key: `you-${system}-${index}`, at, text: user });
  }
  if (user && system === "duplex") {
    const { spoken, typed: keys } = takeSpoken(state, user, at);
    // A seal ends with these words: what was spoken never stood in the box.
    state.heard = spoken.length ? keys.join(" ") : user;
    const raw = spoken.length ? takeWords(state, keys.length) : takeSliced(state, user);
    const item = state.add({ lane: "you", kind: "heard", from: opened_at, to: at, text: user, slice: index, idle, p_idle });
    if (spoken.length) item.spoken = spoken;
    // What was only spoken cannot be typed away.
    if (raw) state.open_slices.push({ item, raw });
    state.remove(state.typing);
    state.typing = null;
    showTyping(state, at);
  }
  if (user && system === "turns" && state.waiting && state.waiting.from < at) {
    state.waiting.to = Math.min(state.waiting.to ?? at, at);
    state.waiting = null;
  }
  if (idle) state.add({ lane: system, kind: "idle", from: at, to: at, text: user, slice: index, idle, p_idle });
}

/** Takes a slice's words from the text that was in no slice. @param {State} state @param {string} user */
function takeSliced(state, user) {
  const lead = state.unsliced.length - state.unsliced.trimStart().length;
  // The server may have tidied the spaces: count the words instead.
  if (!state.unsliced.slice(lead).startsWith(user)) return takeWords(state, user.split(/\s+/).length);
  return takeLetters(state, lead + user.length);
}

/** @param {State} state @param {number} count of words */
function takeWords(state, count) {
  const found = count ? new RegExp(`^\\s*(?:\\S+\\s*){0,${count}}`).exec(state.unsliced) : null;
  return takeLetters(state, found ? found[0].length : 0);
}

/** @param {State} state @param {number} end in UTF-16 units */
function takeLetters(state, end) {
  const raw = state.unsliced.slice(0, end);
  state.unsliced = state.unsliced.slice(end);
  return raw;
}

/** @param {State} state @param {System} system @param {string} id @param {number} at @returns {Answer} */
function answerOf(state, system, id, at) {
  return state.answers.get(`${system}:${id}`) ?? beginAnswer(state, system, id, at);
}

/** @param {State} state @param {System} system @param {string} id @param {number} at @returns {Answer} */
function beginAnswer(state, system, id, at) {
  settle(state, system);
  /** @type {Answer} */
  const answer = { id, at, parts: [], status: "speaking" };
  state.answers.set(`${system}:${id}`, answer);
  state.talk[system].push({ kind: "answer", key: `${system}:${id}:${state.talk[system].length}`, answer });
  if (system === "turns") {
    if (!state.deaf?.text) state.remove(state.deaf);
    state.deaf = null;
  }
  return answer;
}

/** @param {State} state @param {import("./wire.js").TextDelta} event */
function spoken(state, event) {
  const { system, response_id: response, slice, at, delta } = event;
  state.scale.active(at);
  let answer = answerOf(state, system, response, at);
  const strike = answer.parts.at(-1);
  if (strike?.struck && !strike.settled) goOn(state, system, strike, answer, delta);
  if (answer.parts.length && state.talk[system].at(-1)?.kind === "you") {
    // The person spoke meanwhile: what follows stands below their words.
    answer.status = "completed";
    answer = beginAnswer(state, system, response, at);
  }
  // Aloud, the next slice may begin sooner than the last one was expected to end: words stay in their order.
  for (const part of answer.parts) if (!part.struck) part.at = Math.min(part.at, at);
  answer.parts.push({ at, text: delta, struck: false });
  let block = state.items.findLast((i) => i.kind === "speech" && i.lane === system);
  if (!block || block.response !== response || block.slice !== slice) {
    block = state.add({ lane: system, kind: "speech", from: at, to: null, words: [], response, slice });
  }
  for (const item of state.items) {
    if (item.kind !== "speech" || item.lane !== system || item.response !== response) continue;
    for (const word of item.words ?? []) word.at = Math.min(word.at, at);
    if (item !== block && item.to !== null) item.to = Math.min(item.to, Math.max(block.from, item.from));
  }
  block.words?.push({ at, text: delta });
  block.to = at + state.secondsPerToken;
  textGrew(state, event);
}

/**
 * After a cut the same response goes on. If it says the same words, nothing was lost: the
 * strike leaves the answer (the timeline keeps it). Otherwise the words stay struck.
 * @param {State} state @param {System} system @param {Part} strike @param {Answer} answer @param {string} delta
 */
function goOn(state, system, strike, answer, delta) {
  const word = delta.trim();
  strike.settled = true;
  if (!word || !strike.text.trimStart().startsWith(word)) return;
  answer.parts.pop();
  for (const item of state.items) {
    if (item.lane === system && item.from === strike.at && (item.kind === "struck" || item.kind === "stop")) item.resaid = true;
  }
}

/** The model did not go on: what was struck stays so. @param {State} state @param {System} system */
function settle(state, system) {
  const turn = state.talk[system].findLast((t) => t.kind === "answer");
  const part = turn?.kind === "answer" ? turn.answer.parts.at(-1) : undefined;
  if (part?.struck) part.settled = true;
}

/** Drops what was not shown yet and keeps it as struck. @param {State} state @param {import("./wire.js").Cut} event */
function cut(state, event) {
  const { system, at } = event;
  state.scale.active(at);
  const answer = answerOf(state, system, event.response_id, at);
  const words = state.items.filter((item) => item.kind === "speech" && item.lane === system && item.response === event.response_id)
    .flatMap((item) => item.words ?? []);
  for (const parts of [answer.parts.filter((part) => !part.struck), words]) heardBy(parts, event.unheard, at);
  const dropped = answer.parts.filter((part) => !part.struck && part.at > at);
  answer.parts = answer.parts.filter((part) => part.struck || part.at <= at);
  textCut(state, event);
  const unheard = event.unheard || dropped.map((part) => part.text).join("");
  if (unheard) answer.parts.push({ at, text: unheard, struck: true, settled: false });
  for (const item of state.items) {
    if (item.kind !== "speech" || item.lane !== system || item.response !== event.response_id) continue;
    item.words = item.words?.filter((word) => word.at <= at);
    if (item.to !== null) item.to = Math.min(item.to, Math.max(at, item.from));
  }
  state.items = state.items.filter((item) => item.kind !== "speech" || item.words?.length);
  const stop = stopAt(state, system, at);
  stop.cut = true;
  stop.text = unheard;
  stop.slice = event.slice;
  if (unheard) state.add({ lane: system, kind: "struck", from: at, to: at, text: unheard, slice: event.slice });
}

/**
 * Aloud, words are heard sooner or later than they were due: what counts is what the server
 * keeps, all but `unheard`.
 * @param {{at: number, text: string}[]} parts of one answer, in order @param {string} unheard @param {number} at
 */
function heardBy(parts, unheard, at) {
  if (!unheard) return;
  let left = parts.reduce((length, part) => length + part.text.length, 0) - unheard.length;
  for (const part of parts) {
    left -= part.text.length;
    if (left >= 0) part.at = Math.min(part.at, at);
    else if (part.at <= at) part.at = Infinity;
  }
}

/** The mark where a model stopped. @param {State} state @param {System} system @param {number} at @returns {Item} */
function stopAt(state, system, at) {
  state.scale.active(at);
  const found = state.items.findLast(
    (i) => i.kind === "stop" && i.lane === system && Math.abs(i.from - at) < SAME_MOMENT_SECONDS,
  );
  return found ?? state.add({ lane: system, kind: "stop", from: at, to: at });
}

/** @param {State} state @param {import("./wire.js").Deaf} event */
function unheard(state, event) {
  const item = deafAt(state, event.system, event.at);
  item.text += event.text;
  // It answers, so it was not waiting for Enter when that was typed.
  state.remove(state.waiting);
  state.waiting = null;
}

/** The stretch a model was deaf in; keys near to each other share one. @param {State} state @param {System} system @param {number} at */
function deafAt(state, system, at) {
  state.scale.active(at);
  const last = state.items.findLast((i) => i.kind === "deaf" && i.lane === system);
  const near = last && at - (last.to ?? at) < DEAF_GAP_SECONDS;
  const item = last && near ? last : state.add({ lane: system, kind: "deaf", from: at, to: at, text: "" });
  item.to = Math.max(item.to ?? at, at);
  return item;
}

/** Whether a model's words are still coming at `at`. @param {State} state @param {System} system @param {number} at */
export function isSpeaking(state, system, at) {
  const turn = state.talk[system].findLast((t) => t.kind === "answer");
  if (turn?.kind !== "answer" || turn.answer.at > at) return false;
  const { status, parts } = turn.answer;
  if (status === "speaking") return true;
  const last = parts.findLast((part) => !part.struck);
  return status === "completed" && last !== undefined && last.at + state.secondsPerToken > at;
}
