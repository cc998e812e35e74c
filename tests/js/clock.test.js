// The session clock and the places of seconds on the timeline. Run: npm test
import assert from "node:assert/strict";
import { test } from "node:test";
import { BREAK_WIDTH, LEAD_IN, REST_AFTER, SessionClock, TimeScale } from "../../static/clock.js";

test("the clock reads zero before the session", () => {
  assert.equal(new SessionClock().at(123), 0);
});

test("the clock follows the fastest event, so that none comes before it was sent", () => {
  const clock = new SessionClock();
  clock.observe(0, 100.2); // 200 ms late
  clock.observe(1, 101.05); // 50 ms late
  clock.observe(2, 102.5); // 500 ms late
  assert.ok(Math.abs(clock.at(103) - 2.95) < 1e-9);
  assert.ok(clock.at(101.05) >= 1 - 1e-9);
});

test("time flows evenly while something happens", () => {
  const scale = new TimeScale();
  for (let at = 0; at < 20; at += 1) scale.active(at);
  assert.equal(scale.breaks.length, 0);
  assert.equal(scale.place(12.5), 12.5);
});

test("a long silence is folded, and both directions agree", () => {
  const scale = new TimeScale();
  scale.active(0.5);
  scale.active(2);
  scale.active(62);
  scale.active(200);
  assert.equal(scale.breaks.length, 2);
  assert.ok(Math.abs(scale.place(62) - (2 + REST_AFTER + BREAK_WIDTH + LEAD_IN)) < 1e-9);
  let last = -1;
  for (let at = 0; at < 210; at += 0.37) {
    const placed = scale.place(at);
    assert.ok(placed > last, `monotonic at ${at}`);
    assert.ok(Math.abs(scale.time(placed) - at) < 1e-6, `back at ${at}`);
    last = placed;
  }
  assert.ok(scale.breakAt(30));
  assert.equal(scale.breakAt(62), null);
});

test("the present rests in silence and does not jump when somebody moves again", () => {
  const scale = new TimeScale();
  scale.active(1);
  scale.active(2);
  const resting = scale.place(scale.now(50));
  assert.ok(scale.resting(50));
  assert.equal(scale.now(50), 2 + REST_AFTER);
  scale.active(50);
  assert.ok(scale.place(scale.now(50)) - resting <= BREAK_WIDTH + LEAD_IN + 1e-9);
});
