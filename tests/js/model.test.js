// What happened, and what is seen of it at a moment. Run: npm test
import assert from "node:assert/strict";
import { test } from "node:test";
import { describe } from "../../static/details.js";
import { State, isSpeaking, reduce } from "../../static/model.js";
import { badge, medianReaction, runsOf, view } from "../../static/view.js";

const created = {
  type: "session.created", at: 0,
  session: { id: "s", model: "embedded", parameters: 1, aligned: true, slice_seconds: "adaptive", tokens_per_second: 5, systems: ["duplex", "turns"] },
};
const slice = (index, opened_at, at, user, idle = true, p_idle = 0.9, system = "duplex") =>
  ({ type: "duplex.slice", system, index, opened_at, at, user, idle, p_idle });
const begins = (id, at, system = "duplex") => ({ type: "response.created", system, response: { id }, at });
const word = (id, index, delta, at, system = "duplex") =>
  ({ type: "response.output_text.delta", system, response_id: id, slice: index, delta, at });
const cut = (id, index, at, unheard) => ({ type: "duplex.cut", system: "duplex", response_id: id, slice: index, at, unheard });
const done = (id, at, status = "completed", system = "duplex") => ({ type: "response.done", system, response_id: id, status, at });
const key = (at, insert, text, del = 0) => ({ type: "client.edit", at, delete: del, insert, text });

const play = (...events) => {
  const state = new State();
  for (const event of [created, ...events]) reduce(state, event);
  return state;
};
const kinds = (state, now, lane) => view(state, 0, 1e6, now).filter((i) => i.lane === lane).map((i) => i.kind);
const seen = (state, now, system = "duplex") => state.talk[system]
  .map((t) => (t.kind === "you" ? `> ${t.text}` : runsOf(t.answer, now).map((r) => (r.struck ? `[${r.text}]` : r.text)).join("")));

test("typing stands on the lane at once, then becomes a slice", () => {
  const state = play(key(1, "c", "c"), key(1.1, "an you ", "can you "));
  assert.deepEqual(view(state, 0, 9, 1.2).filter((i) => i.lane === "you").map((i) => [i.kind, i.shown]), [["typing", "can you"]]);
  reduce(state, key(1.3, "tel", "can you tel"));
  reduce(state, slice(0, 1, 1.4, "can you"));
  const items = view(state, 0, 9, 1.5).filter((i) => i.lane === "you");
  assert.deepEqual(items.map((i) => [i.kind, i.shown]), [["heard", "can you"], ["typing", "tel"]]);
  assert.deepEqual(kinds(state, 1.5, "duplex"), ["idle"]);
});

test("what was typed and taken back before its slice was never said", () => {
  const state = play(key(1, "hm", "hm"), key(1.5, "", "", 2));
  assert.deepEqual(kinds(state, 2, "you"), []);
  assert.equal(state.waiting, null);
});

test("an edit reaches back into slices that were only listened to", () => {
  const state = play(key(1, "tell me cats", "tell me cats"), slice(0, 1, 2, "tell me"), slice(1, 2, 2.5, "cats"),
    key(3, "", "tell me", 5));
  const [first, second] = view(state, 0, 9, 3).filter((i) => i.kind === "heard");
  assert.deepEqual([first.rewound, second.rewound], [undefined, true]);
  assert.equal(state.unsliced.trim(), "");
});

test("no edit reaches behind a seal", () => {
  const state = play(key(1, "hi.", "hi."), slice(0, 1, 2, "hi."), { type: "client.said", text: "hi." }, key(3, "", "", 3));
  assert.equal(view(state, 0, 9, 3).find((i) => i.kind === "heard").rewound, undefined);
  assert.deepEqual(state.said, ["hi."]);
});

test("a word is shown when it is due, not when it comes", () => {
  const state = play(slice(0, 0, 1, "hi.", false), begins("r", 1), word("r", 0, "Hello", 1.1), word("r", 0, " there", 1.3));
  assert.deepEqual(seen(state, 1.05), ["> hi.", ""]);
  assert.deepEqual(seen(state, 1.2), ["> hi.", "Hello"]);
  assert.deepEqual(seen(state, 1.3), ["> hi.", "Hello there"]);
  const [block] = view(state, 0, 9, 1.2).filter((i) => i.kind === "speech");
  assert.equal(block.shown, "Hello");
  assert.equal(block.end, 1.2);
});

const speaking = [slice(0, 0, 1, "volcanoes?", false, 0.02), begins("r", 1),
  word("r", 0, "A", 1), word("r", 0, " volcano", 1.2), word("r", 0, " is", 1.4), word("r", 0, " hot", 1.6)];

test("a cut drops what was not shown, and a yield leaves it struck", () => {
  const state = play(...speaking, cut("r", 1, 1.3, " is hot"), slice(1, 1.1, 1.3, "stop"),
    { type: "duplex.yield", system: "duplex", at: 1.32 }, done("r", 1.32, "cancelled"));
  assert.deepEqual(seen(state, 5), ["> volcanoes?", "A volcano[ is hot]", "> stop"]);
  assert.equal(isSpeaking(state, "duplex", 1.33), false);
  const marks = view(state, 0, 9, 5).filter((i) => i.lane === "duplex");
  assert.deepEqual(marks.map((i) => i.kind), ["speech", "stop", "struck", "idle"]);
  assert.equal(marks[0].end, 1.3);
  assert.equal(marks[1].yielded && marks[1].cut, true);
  assert.match(describe(state, marks[1]), /yielded to you, cut at 1\.30 s · never seen: “is hot”/);
});

test("a block cut before its first word was never there", () => {
  const state = play(begins("r", 1), word("r", 0, "A", 1), word("r", 1, " volcano", 3), cut("r", 1, 2, " volcano"));
  assert.deepEqual(view(state, 0, 9, 5).filter((i) => i.kind === "speech").map((i) => i.shown), ["A"]);
});

test("a model that goes on after a cut says its words again, below what the person said", () => {
  const state = play(...speaking, cut("r", 1, 1.3, " is hot"), slice(1, 1.1, 1.3, "mhm", false),
    word("r", 1, " is", 1.35), word("r", 1, " hot.", 1.55));
  assert.deepEqual(seen(state, 5), ["> volcanoes?", "A volcano", "> mhm", " is hot."]);
  assert.equal(view(state, 0, 9, 5).find((i) => i.kind === "struck").resaid, true);
  assert.equal(isSpeaking(state, "duplex", 5), true);
});

test("a model that says something else after a cut leaves the words struck", () => {
  const state = play(...speaking, cut("r", 1, 1.3, " is hot"), slice(1, 1.1, 1.3, "cats?", false), word("r", 1, " Cats", 1.4));
  assert.deepEqual(seen(state, 5), ["> volcanoes?", "A volcano[ is hot]", "> cats?", " Cats"]);
});

test("with barge-in it waits for a pause, and is never deaf", () => {
  const session = { id: "s", model: "m", baseline: "barge-in", slice_seconds: "adaptive", tokens_per_second: 5, systems: ["duplex", "turns"] };
  const state = play({ type: "session.created", session, at: 0 }, key(1, "hi", "hi"));
  assert.ok(view(state, 0, 9, 5).find((i) => i.kind === "waiting").spoken);
  for (const event of [slice(0, 1, 1.5, "hi", false, null, "turns"), begins("t", 1.5, "turns"), word("t", 0, "Hello", 1.6, "turns"),
    key(1.7, "stop", "stop")]) reduce(state, event);
  assert.deepEqual(kinds(state, 4, "turns").filter((kind) => kind !== "speech"), ["waiting", "waiting"]);
});

test("the turn-based lane waits for Enter, and is deaf while it speaks", () => {
  const state = play(key(1, "hi", "hi"));
  assert.deepEqual(kinds(state, 2, "turns"), ["waiting"]);
  for (const event of [{ type: "client.enter", at: 3 }, slice(0, 1, 3, "hi", false, null, "turns"), begins("t", 3, "turns"),
    word("t", 0, "Hello", 3.1, "turns"), key(3.2, "stop", "stop")]) reduce(state, event);
  assert.deepEqual(kinds(state, 4, "turns"), ["waiting", "speech", "deaf"]);
  const deaf = (at, text) => reduce(state, { type: "duplex.deaf", system: "turns", at, text });
  deaf(3.2, "st");
  reduce(state, key(3.4, "op", "stop"));
  deaf(3.4, "op");
  reduce(state, done("t", 3.5, "completed", "turns"));
  const marks = view(state, 0, 9, 5).filter((i) => i.kind === "deaf");
  assert.deepEqual(marks.map((i) => [i.from, i.end, i.shown]), [[3.2, 3.4, "stop"]]);
  assert.equal(view(state, 0, 9, 5).find((i) => i.kind === "waiting").end, 3);
});

test("the median reaction", () => {
  const reaction = (from, to) => ({ type: "duplex.reaction", system: "duplex", from, to });
  assert.equal(medianReaction(play(), "duplex"), null);
  assert.equal(medianReaction(play(reaction(1, 2), reaction(3, 3.5), reaction(5, 9)), "duplex"), 1);
});

test("only what is in sight is drawn", () => {
  const events = [];
  for (let i = 0; i < 3600; i += 1) events.push(slice(i, i, i + 0.9, "word"));
  const state = play(...events);
  assert.ok(view(state, 1800, 1810, 3600).length < 40);
});

test("events the page does not draw leave it as it is", () => {
  const state = play({ type: "duplex.ping" }, { type: "duplex.sealed", characters: 1 });
  assert.equal(state.items.length, 0);
});

test("a model that was not trained for duplex is called so, and no other", () => {
  assert.equal(badge(null), "");
  assert.equal(badge(created.session), "");
  assert.equal(badge({ ...created.session, aligned: false }), "not trained for duplex");
});

test("aloud, what counts is what the server kept, not what was due", () => {
  for (const [at, kept] of [[1.0, "Bees are small"], [9.0, "Bees are small"]]) {
    const state = new State();
    reduce(state, { type: "response.created", system: "duplex", response: { id: "duplex-1" }, at: 0.5 });
    for (const [i, delta] of ["Bees", " are", " small", " insects", " that"].entries()) {
      reduce(state, { type: "response.output_text.delta", system: "duplex", response_id: "duplex-1", slice: 0, delta, at: 0.5 + 0.4 * i });
    }
    reduce(state, { type: "duplex.cut", system: "duplex", response_id: "duplex-1", slice: 0, at, unheard: " insects that" });
    const turn = state.talk.duplex.findLast((t) => t.kind === "answer");
    assert.equal(turn.answer.parts.filter((p) => !p.struck).map((p) => p.text).join(""), kept);
    const words = state.items.filter((i) => i.kind === "speech").flatMap((i) => i.words);
    assert.equal(words.map((w) => w.text).join(""), kept);
  }
});

test("aloud, a slice that begins sooner than the last one was to end leaves the words in their order", () => {
  const state = new State();
  reduce(state, { type: "response.created", system: "duplex", response: { id: "duplex-1" }, at: 0.5 });
  for (const [slice, delta, at] of [[0, "Whales", 1.0], [0, " swim", 2.0], [0, ",", 3.0], [1, " but", 2.5], [1, " eat", 2.9]]) {
    reduce(state, { type: "response.output_text.delta", system: "duplex", response_id: "duplex-1", slice, delta, at });
  }
  const { answer } = state.talk.duplex.findLast((t) => t.kind === "answer");
  const times = answer.parts.map((part) => part.at);
  assert.deepEqual(times, [...times].sort((a, b) => a - b));
  assert.deepEqual(times, [1.0, 2.0, 2.5, 2.5, 2.9]);
  for (const now of [1.5, 2.2, 2.6, 3.5]) assert.ok("Whales swim, but eat".startsWith(runsOf(answer, now).map((run) => run.text).join("")));
});
