// The sound of answers: when it begins, what is counted, what a flush drops. Run: npm test
import assert from "node:assert/strict";
import { test } from "node:test";
import { Player } from "../../static/playback-worklet.js";

const RATE = 48000;
const BLOCK = 128;
const LOUD = 8000;
const sound = (length, value = LOUD) => new Int16Array(length).fill(value);
const chunk = (start, length, { id = "r", value = LOUD } = {}) =>
  ({ system: "duplex", response_id: id, start, samples: sound(length, value) });
const flush = (samples, id = "r") => ({ system: "duplex", response_id: id, samples });

/** Renders so many milliseconds. @returns the output, and the reports */
const render = (player, ms) => {
  const output = [];
  for (let i = 0; i < (ms / 1000) * player.rate; i += BLOCK) {
    const block = new Float32Array(BLOCK);
    player.render(block);
    output.push(...block);
  }
  return { output, reports: player.takeReports() };
};
const told = (reports) => reports.filter((report) => report.reason).map(({ reason, response_id, samples, playing }) =>
  [reason, response_id, samples, playing]);
const steepest = (output) => output.reduce((most, value, i) => Math.max(most, i ? Math.abs(value - output[i - 1]) : 0), 0);
/** A fade of 10 ms changes this much from sample to sample; sinc ripples at steps add a little. */
const GENTLE = (LOUD / 32768 / 480) * 3;

test("an answer begins when 100 ms are there, with a fade", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 2000));
  assert.ok(render(player, 50).output.every((value) => value === 0));
  player.chunk(chunk(2000, 10000));
  const { output, reports } = render(player, 50);
  assert.deepEqual(told(reports), [["begun", "r", 0, true]]);
  assert.ok(steepest(output) < GENTLE, `${steepest(output)}`);
  assert.ok(Math.abs(output.at(-1) - LOUD / 32768) < 0.01);
});

test("one shorter than that begins at once when nothing follows, or after a while", () => {
  const done = new Player(RATE);
  done.chunk(chunk(0, 1200));
  done.done({ response_id: "r" });
  assert.deepEqual(told(render(done, 100).reports), [["begun", "r", 0, true], ["ended", "r", 1200, false]]);
  const late = new Player(RATE);
  late.chunk(chunk(0, 1200));
  assert.deepEqual(told(render(late, 100).reports), []);
  assert.deepEqual(told(render(late, 200).reports), [["begun", "r", 0, true], ["dry", "r", 1200, false]]);
});

test("samples are counted at 24 kHz and told every 100 ms, with levels", () => {
  for (const rate of [48000, 44100]) {
    const player = new Player(rate);
    player.chunk(chunk(0, 24000));
    const { reports } = render(player, 750);
    const going = reports.filter((report) => !report.reason);
    assert.equal(going.length, 7);
    going.forEach((report, i) => assert.ok(Math.abs(report.samples - 2400 * (i + 1)) < 300, `${report.samples}`));
    assert.ok(going.every((report) => report.playing && report.levels.length >= 4 && report.levels.length <= 6));
    assert.ok(Math.abs(going[3].levels[0] - LOUD / 32768) < 0.01);
  }
});

test("it fades at its end, and the end is told once", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 4800));
  player.done({ response_id: "r" });
  const { output, reports } = render(player, 400);
  assert.deepEqual(told(reports), [["begun", "r", 0, true], ["ended", "r", 4800, false]]);
  assert.ok(steepest(output) < GENTLE);
  assert.equal(output.at(-1), 0);
});

test("sound that comes too late is an underrun, and nothing is lost or counted twice", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 4800));
  assert.deepEqual(told(render(player, 400).reports), [["begun", "r", 0, true], ["dry", "r", 4800, false]]);
  player.chunk(chunk(4800, 4800));
  player.done({ response_id: "r" });
  const { reports } = render(player, 400);
  assert.deepEqual(told(reports), [["begun", "r", 4800, true], ["ended", "r", 9600, false]]);
  assert.equal(reports.at(-1).underruns, 1);
});

test("a pause before the end is no underrun", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 4800));
  render(player, 400);
  player.done({ response_id: "r" });
  const { reports } = render(player, 100);
  assert.deepEqual(told(reports), [["ended", "r", 4800, false]]);
  assert.equal(reports[0].underruns, 0);
});

test("a flush behind the position stops at once, in 10 ms, and tells what was played", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 48000));
  render(player, 500);
  player.flush(flush(6000));
  const { output, reports } = render(player, 100);
  const [[reason, , samples, playing]] = told(reports);
  assert.deepEqual([reason, playing], ["flushed", false]);
  assert.ok(Math.abs(samples - 12000) < 200, `${samples}`);
  assert.ok(steepest(output) < GENTLE);
  assert.ok(output.slice(RATE / 100 + 1).every((value) => value === 0), "silent after 10 ms");
});

test("a flush ahead of the position plays up to it, with a fade", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 48000));
  render(player, 250);
  player.flush(flush(12000));
  const { output, reports } = render(player, 500);
  assert.deepEqual(told(reports), [["flushed", "r", 12000, false]]);
  assert.ok(steepest(output) < GENTLE);
  const sounding = output.findLastIndex((value) => value !== 0) / RATE;
  assert.ok(Math.abs(sounding - 0.25) < 0.02, `${sounding}`);
});

test("a flush just ahead of the position still fades", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 48000));
  render(player, 250);
  player.flush(flush(6000 + 20));
  const { output } = render(player, 50);
  assert.ok(steepest(output) < GENTLE, `${steepest(output)}`);
});

test("what is sent after a flush is valid again, from where it was flushed", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 24000));
  player.done({ response_id: "r" });
  render(player, 500);
  player.flush(flush(6000));
  render(player, 50);
  player.chunk(chunk(6000, 6000, { value: -LOUD }));
  player.done({ response_id: "r" });
  const { output, reports } = render(player, 400);
  assert.deepEqual(told(reports), [["begun", "r", 6000, true], ["ended", "r", 12000, false]]);
  assert.ok(output.every((value) => value < 0.01), "nothing of what was dropped is heard");
});

test("what comes after the end of an answer, or twice, is dropped", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 4800));
  player.chunk(chunk(2400, 4800)); // its first half is there already
  player.done({ response_id: "r" });
  player.chunk(chunk(7200, 4800));
  assert.deepEqual(told(render(player, 600).reports).at(-1), ["ended", "r", 7200, false]);
});

test("a flush of an answer that has not begun leaves nothing of it", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 1000));
  player.flush(flush(0));
  player.flush(flush(0, "unknown"));
  const { output, reports } = render(player, 300);
  assert.deepEqual(told(reports), [["flushed", "r", 0, false], ["flushed", "unknown", 0, false]]);
  assert.ok(output.every((value) => value === 0));
});

test("answers are played one after the other", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 4800, { id: "a" }));
  player.chunk(chunk(0, 4800, { id: "b", value: -LOUD }));
  player.done({ response_id: "b" });
  const { output, reports } = render(player, 600);
  assert.deepEqual(told(reports).map(([reason, id]) => `${reason} ${id}`), ["begun a", "dry a", "begun b", "ended b"]);
  assert.ok(output.findLastIndex((value) => value > 0.1) < output.findIndex((value) => value < -0.1));
});

test("clearing drops everything with a fade; an answer may be joined in its middle", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 48000));
  render(player, 300);
  player.clear({ told: true });
  const { output, reports } = render(player, 100);
  assert.equal(told(reports)[0][0], "flushed");
  assert.ok(steepest(output) < GENTLE);
  player.chunk(chunk(30000, 4800));
  assert.deepEqual(told(render(player, 50).reports), [["begun", "r", 30000, true]]);
});

test("what belongs to another session is cleared without a word", () => {
  const player = new Player(RATE);
  player.chunk(chunk(0, 48000));
  render(player, 300);
  player.clear({ told: false });
  const { output, reports } = render(player, 300);
  assert.deepEqual(reports, []);
  assert.ok(output.slice(RATE / 100 + 1).every((value) => value === 0));
});

test("a long answer does not keep what was played", () => {
  const player = new Player(RATE);
  for (let start = 0; start < 24000 * 20; start += 2400) {
    player.chunk(chunk(start, 2400));
    render(player, 90);
  }
  assert.ok(player.sounds.get("r").data.length < 24000 * 6, `${player.sounds.get("r").data.length}`);
});
