// @ts-check
/**
 * Every mark of the timeline in words and numbers, for pointing at it and for screen readers.
 *
 * Pure.
 * @typedef {import("./view.js").Drawn} Drawn
 * @typedef {import("./model.js").State} SessionState
 */

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

/** @param {SessionState} state @param {Drawn} item @returns {string} */
function facts(state, item) {
  switch (item.kind) {
    case "typing":
      return `typing ${quoted(item.shown)} · in no slice yet · since ${seconds(item.from)}`;
    case "heard":
      return `slice ${item.slice} · ${extent(item)} · ${quoted(item.shown)} · model ${
        item.idle ? "stayed idle" : "spoke"} · ${probability(item.p_idle)}${
        item.rewound ? " · typed away again: never said" : ""}`;
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
