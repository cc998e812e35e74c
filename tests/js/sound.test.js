// What was heard and what was played, on the timeline. Run: npm test
import assert from "node:assert/strict";
import { test } from "node:test";
import { Phrases } from "../../static/browser-voice.js";
import { describe } from "../../static/details.js";
import { State, reduce } from "../../static/model.js";
import { encodePcm } from "../../static/pcm.js";
import { earsOf, view } from "../../static/view.js";
import { Wave, envelope, heightOf } from "../../static/waves.js";

const audio = {
  ears: { name: "pocketsphinx", offline: true, note: "" }, note: "", voices: [{ id: "e", name: "E", note: "" }],
  voice: "e", system: "duplex", rate: 24000,
};
const session = { id: "s", model: "embedded", parameters: 1, aligned: true, slice_seconds: "adaptive", tokens_per_second: 5, systems: ["duplex", "turns"], audio };
const started = (at) => ({ type: "input_audio_buffer.speech_started", at, noticed_at: at + 0.1 });
const stopped = (at) => ({ type: "input_audio_buffer.speech_stopped", at, noticed_at: at + 0.3 });
const guess = (at, partial) => ({ type: "duplex.hypothesis", at, partial });
const heard = (at, ...words) => ({
  type: "conversation.item.input_audio_transcription.delta", at, delta: words.map(([text]) => `${text} `).join(""),
  words: words.map(([text, start, end]) => ({ text, start, end, committed_at: at })),
});
const slice = (index, opened_at, at, user, system = "duplex") =>
  ({ type: "duplex.slice", system, index, opened_at, at, user, idle: true, p_idle: 0.9 });
const key = (at, insert, text) => ({ type: "client.edit", at, delete: 0, insert, text });
const word = (delta, at) => ({ type: "response.output_text.delta", system: "duplex", response_id: "r", slice: 0, delta, at });
const sound = (start, length, characters) =>
  ({ type: "response.output_audio.delta", system: "duplex", response_id: "r", start, delta: encodePcm(new Int16Array(length)), characters });
const played = (at, samples, { reason, playing = true, levels = [] } = {}) =>
  ({ type: "client.played", at, system: "duplex", response_id: "r", samples, playing, reason, levels });

const play = (...events) => {
  const state = new State();
  for (const event of [{ type: "session.created", at: 0, session }, ...events]) reduce(state, event);
  return state;
};
const on = (state, now, lane) => view(state, 0, 1e6, now).filter((item) => item.lane === lane);

test("words are grey, then certain, then in a slice", () => {
  const state = play(started(1), guess(1.4, "tell"), guess(1.6, "tell me"));
  assert.deepEqual(on(state, 1.7, "you").map((item) => [item.kind, item.from, item.shown]), [["voice", 1, ""], ["partial", 1, "tell me"]]);
  reduce(state, heard(1.8, ["tell", 1.05, 1.3], ["me", 1.3, 1.45]));
  reduce(state, guess(1.8, "about"));
  assert.deepEqual(on(state, 1.9, "you").filter((item) => item.kind !== "voice").map((item) => [item.kind, item.from, item.shown]),
    [["partial", 1.45, "about"], ["spoken", 1.05, "tell me"]]);
  reduce(state, slice(0, 1, 2, "tell me"));
  reduce(state, guess(2.1, ""));
  const [voice, block] = on(state, 2.2, "you");
  assert.deepEqual([voice.kind, block.kind, block.shown, block.spoken.length], ["voice", "heard", "tell me", 2]);
  assert.match(describe(state, block), /2 spoken, certain 0\.50 s after they were said/);
});

test("where somebody spoke stands on the lane, with when that was noticed", () => {
  const state = play(started(1), stopped(2.5));
  const [voice] = on(state, 9, "you");
  assert.deepEqual([voice.from, voice.end], [1, 2.5]);
  assert.match(describe(state, voice), /noticed after 0\.10 s · its end noticed after 0\.30 s/);
});

test("switching the microphone off ends what was being said", () => {
  const state = play({ type: "client.microphone", at: 0.5, on: true }, started(1), { type: "client.microphone", at: 2, on: false });
  assert.equal(on(state, 9, "you")[0].end, 2);
  assert.equal(state.sound.microphone, false);
});

test("what a slice leaves over stands behind it", () => {
  const state = play(started(1), heard(1.5, ["tell", 1, 1.2], ["me", 1.2, 1.4], ["about", 1.4, 1.6]), guess(1.8, "bees"), slice(0, 1, 2, "tell me"));
  assert.deepEqual(on(state, 3, "you").filter((item) => item.kind !== "voice").map((item) => [item.kind, item.from, item.shown]),
    [["spoken", 2, "about"], ["partial", 2, "bees"], ["heard", 1, "tell me"]]);
});

test("spoken and typed words of one slice each leave where they waited", () => {
  const state = play(key(1, "hello ", "hello "), started(1), heard(1.5, ["what", 1, 1.2], ["is", 1.2, 1.4]), key(1.6, "love ", "hello love "),
    slice(0, 1, 2, "hello what is"));
  assert.deepEqual([state.unsliced, state.heard, state.sound.words.length], ["love ", "hello", 0]);
  assert.deepEqual(on(state, 3, "you").map((item) => [item.kind, item.shown]), [["voice", ""], ["heard", "hello what is"], ["typing", "love"]]);
});

test("marks that somebody sets later do not hide a spoken word", () => {
  const state = play(started(1), heard(1.5, ["Stop", 1, 1.2]), slice(0, 1, 2, "stop."));
  assert.equal(state.sound.words.length, 0);
});

test("what was only spoken cannot be typed away", () => {
  const state = play(key(0.1, "hey ", "hey "), slice(0, 0, 0.5, "hey"), started(1), heard(1.5, ["stop", 1, 1.2]), slice(1, 1, 2, "stop"),
    { type: "client.edit", at: 3, delete: 4, insert: "", text: "" });
  assert.deepEqual(on(state, 9, "you").filter((item) => item.kind === "heard").map((item) => [item.shown, item.rewound]), [["hey", true], ["stop", undefined]]);
});

test("what was spoken stands on the said line, one entry a breath", () => {
  const state = play(started(1), heard(1.5, ["tell", 1, 1.2]), heard(1.8, ["me", 1.2, 1.4]), stopped(2), started(4), heard(4.5, ["stop", 4, 4.2]));
  reduce(state, { type: "client.said", text: "typed." });
  assert.deepEqual(state.said, ["tell me", "stop", "typed."]);
});

test("the one that waits, waits until the person has stopped", () => {
  const state = play(started(1), heard(1.5, ["hello", 1, 1.2]));
  const [waiting] = on(state, 2, "turns");
  assert.match(describe(state, waiting), /waiting until you have stopped/);
  reduce(state, slice(0, 1, 3, "hello", "turns"));
  assert.equal(on(state, 9, "turns")[0].end, 3);
});

const answer = [{ type: "response.created", system: "duplex", response: { id: "r" }, at: 1 },
  word("Bees", 1), word(" are", 1.2), word(" insects", 1.4), sound(0, 12000, [0, 8]), sound(12000, 12000, [8, 16])];

test("model stop, playback stop and the end of what was heard stand apart", () => {
  const state = play(...answer, played(1.1, 2400), { type: "duplex.yield", system: "duplex", at: 1.5 },
    { type: "duplex.audio.flush", system: "duplex", response_id: "r", samples: 6000 }, played(1.62, 6000, { reason: "flushed", playing: false }));
  const [stop, hush, end] = ["stop", "hush", "heardend"].map((kind) => on(state, 9, "duplex").find((item) => item.kind === kind));
  assert.deepEqual([stop.from, hush.from], [1.5, 1.62]);
  assert.match(describe(state, hush), /stopped at 1\.62 s · 0\.12 s after the model · 0\.25 s of the answer played/);
  assert.ok(Math.abs(end.from - 1.2) < 1e-9, `${end.from}`); // four characters: the end of “Bees”
  assert.match(describe(state, end), /up to here: “Bees” · 4 of 16 characters/);
});

test("how long the sound went on is counted from the model's last stop, whatever came last", () => {
  const state = play(...answer, { type: "duplex.yield", system: "duplex", at: 2.5 },
    { type: "duplex.cut", system: "duplex", response_id: "r", slice: 0, at: 1.5, unheard: "" }, played(2.6, 6000, { reason: "flushed", playing: false }));
  assert.match(describe(state, on(state, 9, "duplex").find((item) => item.kind === "hush")), /0\.10 s after the model/);
});

test("an answer that ends or runs dry was not stopped", () => {
  const state = play(...answer, played(2, 24000, { reason: "dry", playing: false }), played(2.1, 24000, { reason: "ended", playing: false }));
  assert.deepEqual(on(state, 9, "duplex").map((item) => item.kind), ["speech"]);
});

test("a flush of an answer of which no sound came has no end of what was heard", () => {
  const state = play(answer[0], word("Bees", 1), played(1.5, 0, { reason: "flushed", playing: false }));
  assert.deepEqual(on(state, 9, "duplex").map((item) => item.kind), ["speech", "hush"]);
});

test("characters are code points", () => {
  const state = play(answer[0], word("😀é b", 1), sound(0, 4000, [0, 4]), played(1.5, 1000, { reason: "flushed", playing: false }));
  assert.equal(on(state, 9, "duplex").find((item) => item.kind === "heardend").text, "😀");
});

test("where the voice was lowered is shown", () => {
  const state = play({ type: "client.lowered", at: 1 }, { type: "client.restored", at: 1.5 });
  assert.match(describe(state, on(state, 9, "you")[0]), /lowered because you seemed to speak · 1\.00–1\.50 s/);
});

test("levels in silence wake nothing", () => {
  const state = play(started(1), stopped(2));
  const { version } = state;
  reduce(state, { type: "client.level", at: 2.5, level: 0.1 });
  assert.equal(state.version, version + 1);
  reduce(state, { type: "client.level", at: 60, level: 0.1 });
  assert.equal(state.version, version + 1);
});

test("what the page says of the ears", () => {
  assert.equal(earsOf(null).text, "");
  assert.equal(earsOf({ ...session, audio: undefined }).text, "");
  assert.equal(earsOf(session).text, "hears with pocketsphinx (offline)");
  assert.deepEqual(earsOf({ ...session, audio: { ...audio, ears: null, note: "install it" } }), { text: "cannot hear speech", note: "install it" });
});

test("a wave is placed by its runs, whatever the messages' delays", () => {
  const wave = new Wave();
  for (let i = 0; i < 50; i += 1) wave.add(1 + i * 0.02 + (i % 3) * 0.03, 0.1);
  wave.add(5, 0.2);
  assert.deepEqual(wave.runs.map((run) => [run.from, run.levels.length]), [[1, 50], [5, 1]]);
  const columns = wave.columns(1.5, 6, (at) => at * 100);
  assert.ok([...columns.keys()].every((x) => x % 3 === 0 && x >= 147 && x <= 500));
  assert.equal(columns.get(498), 0.2);
  wave.add(4, 0.3); // a clock that was set back
  assert.ok(wave.runs.at(-1).from >= 5);
});

test("only a wave in sight is looked at", () => {
  const wave = new Wave();
  for (let i = 0; i < 180000; i += 1) wave.add(i * 0.02, 0.1);
  assert.ok(wave.columns(1800, 1810, (at) => at * 130).size < 500);
});

test("an envelope is mirrored and leaves noise out", () => {
  assert.equal(envelope(new Map([[30, 1], [33, 0.0001]]), 30, 40), "M1.5 0.0V40.0");
  assert.equal(heightOf(0), 0);
  assert.ok(heightOf(0.003) < 0.1 && heightOf(0.2) > 0.8 && heightOf(9) === 1);
});

test("text that grows is cut into phrases", () => {
  const phrases = new Phrases();
  assert.deepEqual(phrases.add("Bees are insects"), []);
  assert.deepEqual(phrases.add(", and they"), ["Bees are insects,"]);
  assert.deepEqual(phrases.add(" sleep. 3.5 hours"), ["and they sleep."]);
  assert.deepEqual(phrases.end(), ["3.5 hours"]);
  assert.deepEqual(phrases.end(), []);
  assert.equal(phrases.add("a b c d e f g h i j k l m n").length, 1);
});
