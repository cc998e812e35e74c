// @ts-check
/**
 * Every mark of the timeline in words and numbers, for pointing at it and for screen readers.
 *
 * Pure.
 * @typedef {import("./view.js").Drawn} Drawn
 * @typedef {import("./model.js").State} SessionState
 */
import { MOUTH_RATE } from "./pcm.js";
import { codePoints } from "./wire.js";

/** @type {Record<string, string>} */
const LANE_NAMES = { you: "you", duplex: "listens while it speaks", turns: "waits for its turn" };

/** @param {number} value @param {number} [digits] */
export function seconds(value, digits = 2) {
  return `${value.toFixed(digits)} s`;
}

/** @param {Drawn} item */
function extent(item) {
  return `${item.from.toFixed(2)}–${item.end.toFixed(2)} s (${seconds(item.end - item.from)})`;
}

/** @param {number | null | undefined} p */
function probability(p) {
  return p === null || p === undefined ? "model not run" : `p(idle) ${p.toFixed(3)}`;
}

/** @param {string | undefined} text */
function quoted(text) {
  return text ? `“${text.trim()}”` : "nothing";
}

/** @param {string} what @param {number | undefined} at @param {number} from */
function since(what, at, from) {
  return at === undefined ? "" : ` · ${what} after ${seconds(at - from)}`;
}

/** How soon spoken words were certain. @param {import("./wire.js").SpokenWord[]} words */
function spokenWords(words) {
  const delays = words.map((word) => word.committed_at - word.end).sort((a, b) => a - b);
  if (!delays.length) return "spoken";
  const middle = delays[delays.length >> 1];
  return `${words.length} spoken, certain ${seconds(middle)} after ${words.length > 1 ? "they were said (median)" : "it was said"}`;
}

/** @param {number | undefined} samples at 24 kHz */
function played(samples = 0) {
  return `${seconds(samples / MOUTH_RATE)} of the answer played`;
}

/** The last letters of a text. @param {string | undefined} text */
function ending(text = "") {
  const letters = codePoints(text);
  return letters.length > 40 ? `… ${letters.slice(-40).join("").trim()}` : text;
}

/** @param {SessionState} state @param {Drawn} item @returns {string} */
function facts(state, item) {
  switch (item.kind) {
    case "typing":
      return `typing ${quoted(item.shown)} · in no slice yet · since ${seconds(item.from)}`;
    case "heard":
      return `slice ${item.slice} · ${extent(item)} · ${quoted(item.shown)} · model ${
        item.idle ? "stayed idle" : "spoke"} · ${probability(item.p_idle)}${
        item.rewound ? " · typed away again: never said" : ""}${item.spoken ? ` · ${spokenWords(item.spoken)}` : ""}`;
    case "voice":
      return `you spoke · ${extent(item)}${since("noticed", item.noticed, item.from)}${
        item.to === null ? "" : since("its end noticed", item.noticedEnd, item.to)}`;
    case "partial":
      return `hearing ${quoted(item.shown)} · not certain yet, so no model has it · since ${seconds(item.from)}`;
    case "spoken":
      return `heard ${quoted(item.shown)} · in no slice yet · ${spokenWords(item.spoken ?? [])}`;
    case "lowered":
      return `the voice was lowered because you seemed to speak · ${extent(item)}`;
    case "hush":
      return `its sound stopped at ${seconds(item.from)}${
        item.after === undefined ? "" : ` · ${seconds(item.after)} after the model`} · ${played(item.samples)}`;
    case "heardend":
      return `you heard it up to here: ${quoted(ending(item.text))} · ${item.characters} of ${item.of} characters · ${played(item.samples)}`;
    case "enter":
      return `Enter at ${seconds(item.from)}`;
    case "idle":
      return `<idle> at ${seconds(item.from)} · slice ${item.slice} · heard ${quoted(item.shown)} · ${probability(item.p_idle)}`;
    case "speech": {
      const slice = state.slices.get(`${item.lane}:${item.slice}`);
      const words = item.words ?? [];
      return `said ${quoted(item.shown)} · ${extent(item)} · slice ${item.slice} · ${words.length} tokens${
        slice ? ` · decided at ${seconds(slice.at)} · ${probability(slice.p_idle)}` : ""}`;
    }
    case "stop": {
      const what = [item.yielded ? "yielded to you" : "", item.cut ? "cut" : "", item.resaid ? "went on" : ""].filter(Boolean).join(", ");
      return `${what || "stopped"} at ${seconds(item.from)}${item.text ? ` · never seen: ${quoted(item.text)}` : ""}`;
    }
    case "struck":
      return `${item.resaid ? "taken back for your words, then said" : "never seen"}: ${quoted(item.shown)} · cut at ${seconds(item.from)} · slice ${item.slice}`;
    case "reaction":
      return `first word ${seconds(item.end - item.from)} after your last key · ${extent(item)}`;
    case "waiting":
      if (item.spoken) return `waiting until you have stopped · ${extent(item)} · it has read nothing of this`;
      return `waiting for Enter · ${extent(item)} · it has read nothing of this`;
    case "deaf":
      return `deaf while it answered · ${extent(item)} · not heard: ${quoted(item.shown || "…")}`;
    default:
      return "";
  }
}

/** @param {SessionState} state @param {Drawn} item @returns {string} */
export function describe(state, item) {
  return `${LANE_NAMES[item.lane]} · ${facts(state, item)}`;
}
