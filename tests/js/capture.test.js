// The microphone's frames, and what is said when there is none. Run: npm test
import assert from "node:assert/strict";
import { test } from "node:test";
import { Framer } from "../../static/capture-worklet.js";
import { wordsFor } from "../../static/microphone.js";

const frames = (rate, seconds, hertz, loud) => {
  const framer = new Framer(rate);
  const all = [];
  for (let block = 0; block < (rate * seconds) / 128; block += 1) {
    const samples = Float32Array.from({ length: 128 }, (_, i) => loud * Math.sin((2 * Math.PI * hertz * (block * 128 + i)) / rate));
    all.push(...framer.push(samples));
  }
  return all;
};

for (const rate of [48000, 44100, 96000, 16000]) {
  test(`a second at ${rate} Hz is fifty frames of 20 ms, without seams`, () => {
    const all = frames(rate, 2, 500, 0.5);
    assert.ok(all.length >= 98 && all.length <= 100, `${all.length}`);
    assert.ok(all.every((frame) => frame.samples.length === 320));
    const sound = all.flatMap((frame) => [...frame.samples]).slice(800);
    const steepest = (2 * Math.PI * 500 * 0.5 * 32767) / 16000;
    for (let i = 1; i < sound.length; i += 1) assert.ok(Math.abs(sound[i] - sound[i - 1]) < 1.05 * steepest, `seam at ${i}`);
    assert.ok(Math.abs(all.at(-1).level - 0.5 / Math.SQRT2) < 0.01);
  });
}

test("silence has no level", () => {
  assert.ok(frames(48000, 0.1, 500, 0).every((frame) => frame.level === 0));
});

test("every refusal says that one may type, and what to do", () => {
  for (const name of ["NotAllowedError", "NotFoundError", "NotReadableError", "InsecureContext", "Unsupported", "WeatherError"]) {
    assert.match(wordsFor(name), /type\.$/);
  }
  assert.match(wordsFor("WeatherError"), /WeatherError/);
  assert.match(wordsFor("InsecureContext"), /https/);
});
