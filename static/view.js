// @ts-check
/**
 * What of the state is to be seen at a moment. Pure: the moment is passed in.
 *
 * @typedef {import("./model.js").State} State
 * @typedef {import("./wire.js").System} System
 * @typedef {import("./model.js").Answer} Answer
 * @typedef {import("./model.js").Item & {end: number, shown: string}} Drawn  an item as it looks at a moment
 * @typedef {{text: string, struck: boolean}} Run
 */

/** The median time from the last key to the first word, or null. @param {State} state @param {System} system */
export function medianReaction(state, system) {
  const sorted = [...state.reactions[system]].sort((a, b) => a - b);
  if (!sorted.length) return null;
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** What the page says of a model besides its name. @param {import("./wire.js").Session | null} session */
export function badge(session) {
  return session && !session.aligned ? "not trained for duplex" : "";
}

/** Who recognises what is spoken. @param {import("./wire.js").Session | null} session @returns {{text: string, note: string}} */
export function earsOf(session) {
  const audio = session?.audio;
  if (!audio) return { text: "", note: "" };
  if (!audio.ears) return { text: "cannot hear speech", note: audio.note };
  const { name, offline, note } = audio.ears;
  return { text: `hears with ${name}${offline ? " (offline)" : ""}`, note: note || audio.note };
}

/** What is seen of an answer at `now`. @param {Answer} answer @param {number} now @returns {Run[]} */
export function runsOf(answer, now) {
  /** @type {Run[]} */
  const runs = [];
  for (const { at, text, struck, settled } of answer.parts) {
    if (at > now || (struck && !settled)) continue;
    const last = runs.at(-1);
    if (last && last.struck === struck) last.text += text;
    else runs.push({ text, struck });
  }
  return runs;
}

/**
 * What stands on the lanes between two moments, as seen at `now`.
 * @param {State} state @param {number} from @param {number} to @param {number} now
 * @returns {Drawn[]}
 */
export function view(state, from, to, now) {
  /** @type {Drawn[]} */
  const drawn = [];
  for (const item of state.items) {
    if (item.from > now || item.from > to) continue;
    if (item.kind === "reaction" && (item.to ?? 0) > now) continue;
    const end = Math.min(item.to ?? now, Math.max(now, item.from));
    // Words of a strike or a mark may be wider than their moment: keep them a while.
    if (end < from - 4) continue;
    if (item.kind === "idle" && !item.text && state.scale.breakAt(item.from)) continue;
    const shown = item.words
      ? item.words.filter((word) => word.at <= now).map((word) => word.text).join("").trim()
      : item.text ?? "";
    drawn.push({ ...item, end, shown });
  }
  return drawn;
}
