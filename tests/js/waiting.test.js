// What people are told before and after a talk, and the recording that they watch. Run: npm test
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Replay } from "../../static/replay.js";
import { runsOf, view } from "../../static/view.js";
import { Lobby, about } from "../../static/waiting.js";
import { problemsWith } from "../../static/wire.js";

const queue = (position, waiting, estimate_seconds = null) => ({ type: "duplex.queue", position, waiting, estimate_seconds });
const ending = (why, seconds) => ({ type: "duplex.ending", why, seconds });
const ended = (why) => ({ type: "duplex.ended", why });
const refusal = (code, message = "all places are taken") => ({ type: "error", error: { type: "x", code, message } });
const created = { type: "session.created", session: {}, at: 0 };
const told = (events, local = 0) => {
  const lobby = new Lobby();
  for (const event of events) lobby.receive(event, 0, 0.5);
  return lobby.shown(local);
};

test("seconds as people say them", () => {
  assert.deepEqual([0, 7, 8, 12, 38, 54, 55, 89, 90, 200].map(about), [
    "a few seconds", "a few seconds", "about 10 s", "about 10 s", "about 40 s", "about 55 s",
    "about 1 min", "about 1 min", "about 2 min", "about 3 min",
  ]);
});

test("whoever waits is told the position, and how long if that is known", () => {
  assert.equal(told([queue(3, 5, 40)]).text, "You are number 3 of 5; about 40 s.");
  assert.equal(told([queue(3, 5)]).text, "You are number 3 of 5.");
});

test("the estimate runs down between two events, and never below nothing", () => {
  assert.equal(told([queue(3, 5, 40)], 20).text, "You are number 3 of 5; about 20 s.");
  assert.equal(told([queue(3, 5, 40)], 90).text, "You are number 3 of 5; a few seconds.");
});

test("a screen reader hears of every move and not of every estimate", () => {
  const lobby = new Lobby();
  const said = [queue(3, 5, 40), queue(3, 5, 25), queue(3, 6, 24), queue(2, 5, 20)].map((event) => {
    lobby.receive(event, 0);
    return lobby.shown(0).said;
  });
  assert.deepEqual(said, [
    "You are number 3 of 5; about 40 s.", "You are number 3 of 5; about 40 s.",
    "You are number 3 of 5; about 40 s.", "You are number 2 of 5; about 20 s.",
  ]);
});

test("the session begins: nothing more is said, and the event goes on to the page", () => {
  const lobby = new Lobby();
  assert.equal(lobby.receive(queue(1, 1), 0), true);
  assert.equal(lobby.receive(created, 1), false);
  assert.equal(lobby.shown(1), null);
});

test("an end that comes near ticks, and only the idle can put it off", () => {
  const idle = told([ending("idle", 60)], 13.5);
  assert.equal(idle.text, "Are you still here? Without a key or a word this conversation ends in 47 s.");
  assert.deepEqual(idle.button, { label: "I am still here", act: "here" });
  assert.equal(idle.said, told([ending("idle", 60)], 20).said, "what is read aloud does not tick");
  for (const why of ["time", "shutdown"]) assert.equal(told([ending(why, 60)]).button, null);
  assert.match(told([ending("time", 60)], 70).text, /in 0 s\.$/);
});

test("an end that was put off is said no more; a nearer one takes its place", () => {
  assert.equal(told([ending("idle", 60), { type: "duplex.stays" }]), null);
  assert.match(told([ending("idle", 60), ending("time", 50)]).text, /^Your time is nearly over.* in 50 s\.$/);
});

test("after the end the page stays to be read, and a new talk can begin", () => {
  for (const why of ["time", "idle", "shutdown"]) {
    const shown = told([ending(why, 5), ended(why)]);
    assert.match(shown.text, /ended\. You can still read and rate it\.$/);
    assert.deepEqual(shown.button, { label: "begin again", act: "again" });
  }
});

test("what comes after the end, as an error of its closing, does not take its words away", () => {
  const lobby = new Lobby();
  lobby.receive(ended("shutdown"), 0);
  assert.equal(lobby.receive(refusal("draining"), 0), false);
  assert.equal(lobby.kind, "ended");
});

test("a full server is tried again by itself, not by everybody in the same second, and once", () => {
  const lobby = new Lobby();
  assert.equal(lobby.receive(refusal("full", "all 16 places are taken; try again in a few minutes"), 100, 0.5), true);
  assert.equal(lobby.shown(100).text, "All 16 places are taken; try again in a few minutes. Trying again in 45 s.");
  assert.deepEqual(lobby.shown(100).button, { label: "try now", act: "now" });
  assert.deepEqual([lobby.due(144.9), lobby.due(145), lobby.due(146)], [false, true, false]);
  const waits = [0, 1].map((dice) => {
    lobby.receive(refusal("full"), 0, dice);
    return lobby.until;
  });
  assert.deepEqual(waits, [30, 60]);
});

test("who has too many places is not let in by waiting", () => {
  const lobby = new Lobby();
  lobby.receive(refusal("too_many", "you have two"), 0);
  assert.equal(lobby.shown(0).text, "You have two.");
  assert.equal(lobby.due(1e9), false);
});

test("other errors and events are the page's business", () => {
  const lobby = new Lobby();
  for (const event of [refusal("bad_event"), { type: "duplex.ping" }, { type: "duplex.slice" }]) {
    assert.equal(lobby.receive(event, 0), false);
  }
  assert.equal(lobby.shown(0), null);
});

test("a lost connection loses the position, and nothing else", () => {
  const lobby = new Lobby();
  lobby.receive(queue(2, 2), 0);
  lobby.lost();
  assert.equal(lobby.shown(0), null);
  lobby.receive(ended("time"), 0);
  lobby.lost();
  assert.equal(lobby.kind, "ended");
});

test("the wire knows these events, and refuses what they are not", () => {
  const wrong = (event) => problemsWith(event, "server").length;
  for (const event of [queue(1, 2), queue(1, 2, 3.5), ending("idle", 60), { type: "duplex.stays" }, ended("time")]) {
    assert.equal(wrong(event), 0, event.type);
  }
  for (const event of [queue(-1, 2), queue(1, 2, "soon"), ending("bored", 60), ending("idle"), ended("")]) {
    assert.ok(wrong(event), JSON.stringify(event));
  }
});

// — the recording —

const recording = JSON.parse(readFileSync(new URL("../../static/replay.json", import.meta.url), "utf8"));
const seen = (state, now, system) => state.talk[system]
  .map((turn) => (turn.kind === "you" ? `> ${turn.text}` : runsOf(turn.answer, now).map((run) => run.text).join(""))).join("\n");

test("the recorded talk shows what the page is about", () => {
  const replay = new Replay(recording);
  replay.advance(0);
  replay.advance(recording.seconds);
  const { state, now } = replay;
  const kinds = new Set(view(state, 0, 1e6, now).map((item) => `${item.lane} ${item.kind}`));
  for (const kind of ["you heard", "duplex idle", "duplex speech", "duplex stop", "turns speech", "turns deaf", "duplex reaction"]) {
    assert.ok(kinds.has(kind), `${kind} is missing`);
  }
  assert.match(seen(state, now, "duplex"), /> What is the capital of France\?\n.*Paris/);
  assert.ok(state.said.length >= 4, "what was sealed");
  assert.equal(state.unsliced.trim(), "", "everything typed was heard");
  assert.ok(recording.seconds > 20 && recording.seconds < 90);
});

test("it is played at its own time", () => {
  const replay = new Replay(recording);
  replay.advance(1000);
  replay.advance(1002);
  assert.equal(replay.now, 2);
  assert.equal(replay.state.talk.duplex.length, 0);
  assert.match(view(replay.state, 0, 99, 2).find((item) => item.lane === "you").shown, /^What/);
  replay.advance(1012);
  assert.match(seen(replay.state, replay.now, "duplex"), /Paris is the capital of France/);
});

test("after its end it rests, then begins anew with nothing left of before", () => {
  const replay = new Replay(recording);
  assert.equal(replay.advance(0), true);
  assert.equal(replay.advance(recording.seconds + 3.9), false);
  const before = replay.state;
  assert.equal(replay.advance(recording.seconds + 4), true);
  assert.notEqual(replay.state, before);
  assert.deepEqual([replay.now, replay.state.items.length], [0, 0]);
});

test("a page that slept shows the talk from its beginning", () => {
  const replay = new Replay(recording);
  replay.advance(0);
  assert.equal(replay.advance(10_000), true);
  assert.equal(replay.now, 0);
});

test("the recording names nobody and nothing but the talk", () => {
  assert.equal(recording.session.id, "recording");
  assert.ok(readFileSync(new URL("../../static/replay.json", import.meta.url)).length < 64 * 1024);
});
