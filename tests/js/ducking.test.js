// When the voice is lowered, and when it comes back. Run: npm test
import assert from "node:assert/strict";
import { test } from "node:test";
import { CONFIRM_SECONDS, Ducking, YIELD_SECONDS, echoOf } from "../../static/ducking.js";

const FRAME = 0.02;
const NOISE = 0.001;
const SPEECH = 0.06;

/** A room that is quiet for a second; then the voice plays. */
class Room {
  constructor({ playing = true, voice = 0.1, echo = 0 } = {}) {
    this.ducking = new Ducking();
    this.at = 0;
    this.echo = echo * voice;
    this.hear(NOISE, 1);
    if (playing) this.ducking.voice(true, voice);
  }

  /** @returns the actions, each with the seconds since this began */
  hear(level, seconds, until = () => false) {
    const began = this.at;
    const actions = [];
    while (this.at < began + seconds - 1e-9) {
      this.at += FRAME;
      const heard = this.ducking.playing && !this.ducking.lowered ? Math.hypot(level, this.echo) : level;
      const action = this.ducking.hear(heard, this.at);
      if (action) actions.push([action, Number((this.at - began).toFixed(2))]);
      if (until()) break;
    }
    return actions;
  }
}

test("the voice is lowered with the second frame of an onset", () => {
  assert.deepEqual(new Room().hear(SPEECH, 0.1), [["lower", 0.04]]);
});

test("one loud frame is a click, not a voice", () => {
  const room = new Room();
  assert.deepEqual([...room.hear(SPEECH, FRAME), ...room.hear(NOISE, 1)], []);
});

test("nothing is lowered while nothing plays", () => {
  const room = new Room({ playing: false });
  assert.deepEqual(room.hear(SPEECH, 2), []);
  assert.equal(room.ducking.speechStarted(), null);
});

test("what the server does not confirm within 400 ms comes back", () => {
  const [[, lowered], [action, at]] = new Room().hear(SPEECH, 1);
  assert.equal(action, "restore");
  assert.ok(Math.abs(at - lowered - CONFIRM_SECONDS) < FRAME + 1e-9);
});

test("what the server confirms stays lowered, until the model goes on", () => {
  const room = new Room();
  room.hear(SPEECH, 0.2);
  assert.equal(room.ducking.speechStarted(), null);
  assert.deepEqual(room.hear(SPEECH, 3), []);
  assert.equal(room.ducking.speechStopped(room.at), null);
  const [[action, at]] = room.hear(NOISE, 2);
  assert.equal(action, "restore");
  assert.ok(Math.abs(at - YIELD_SECONDS) < FRAME + 1e-9);
});

test("somebody who goes on speaking keeps the voice low", () => {
  const room = new Room();
  room.hear(SPEECH, 0.2);
  room.ducking.speechStarted();
  room.ducking.speechStopped(room.at);
  room.hear(NOISE, 0.3);
  room.ducking.speechStarted();
  assert.deepEqual(room.hear(SPEECH, 2), []);
});

test("a flush brings the voice back for the next answer, and so does its end", () => {
  for (const over of [(ducking) => ducking.flushed(), (ducking) => ducking.voice(false), (ducking) => ducking.released()]) {
    const room = new Room();
    room.hear(SPEECH, 0.1);
    assert.equal(over(room.ducking), "restore");
    assert.equal(room.ducking.lowered, false);
    assert.equal(over(room.ducking), null);
  }
});

test("a yield waits for its flush, but not for ever", () => {
  const room = new Room();
  room.hear(SPEECH, 0.1);
  room.ducking.speechStarted();
  assert.equal(room.ducking.yielded(room.at), null);
  assert.equal(room.hear(SPEECH, 2)[0][0], "restore");
});

test("speech that only the server noticed lowers the voice as well", () => {
  assert.equal(new Room().ducking.speechStarted(), "lower");
});

test("its own echo lowers the voice once at most, and speech above it still does", () => {
  const room = new Room({ echo: 0.4 });
  room.hear(NOISE, 1.5);
  assert.deepEqual(room.hear(NOISE, 10), []);
  assert.equal(room.hear(0.3, 0.1)[0][0], "lower");
});

test("an echo that was measured before never lowers it", () => {
  const room = new Room({ echo: 0.4 });
  room.ducking.measured(0.4);
  assert.deepEqual(room.hear(NOISE, 10), []);
});

test("with headphones the threshold sinks, and soft speech is noticed", () => {
  const room = new Room();
  room.hear(NOISE, 8);
  assert.equal(room.hear(0.012, 0.1)[0][0], "lower");
});

test("a steady noise raises the floor until it is no voice any more", () => {
  const room = new Room({ playing: false });
  room.hear(0.02, 30);
  room.ducking.voice(true, 0.1);
  assert.deepEqual(room.hear(0.02, 2), []);
  assert.equal(room.hear(0.3, 0.1)[0][0], "lower");
});

test("the self-echo test: heard, not heard, and a room that is loud anyway", () => {
  const frames = (n, level) => new Array(n).fill(level);
  const chime = (level) => [...frames(8, NOISE), ...frames(20, level), ...frames(2, NOISE)];
  const loud = echoOf(frames(12, NOISE), chime(0.03), 0.05);
  assert.equal(loud.heard, true);
  assert.ok(Math.abs(loud.coupling - 0.58) < 0.01);
  assert.equal(echoOf(frames(12, NOISE), chime(0.0015), 0.05).heard, false);
  assert.equal(echoOf(frames(12, 0.02), chime(0.03), 0.05).heard, false);
});
