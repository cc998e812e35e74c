// Sound as numbers: bytes, levels, other rates. Run: npm test
import assert from "node:assert/strict";
import { test } from "node:test";
import { Sinc, bytesIn, decodePcm, encodePcm, levelOf, toFloat, toPcm } from "../../static/pcm.js";

test("samples travel as little-endian base64 and come back", () => {
  const samples = Int16Array.from([0, 1, -1, -32768, 32767]);
  assert.equal(encodePcm(samples), Buffer.from([0, 0, 1, 0, 255, 255, 0, 128, 255, 127]).toString("base64"));
  assert.deepEqual(decodePcm(encodePcm(samples)), samples);
  for (let n = 0; n < 9; n += 1) assert.equal(bytesIn(encodePcm(new Int16Array(n))), 2 * n);
});

test("what is too loud is clipped, not wrapped", () => {
  assert.deepEqual([...toPcm(Float32Array.from([0, 1, -1, 7, -7, 0.5]))], [0, 32767, -32767, 32767, -32767, 16384]);
  assert.ok(Math.abs(toFloat(Int16Array.of(-32768))[0] + 1) < 1e-6);
});

test("the level is the root mean square", () => {
  assert.equal(levelOf(new Float32Array(0)), 0);
  assert.ok(Math.abs(levelOf(tone(440, 16000, 16000, 0.5)) - 0.5 / Math.SQRT2) < 1e-3);
});

const tone = (hertz, rate, length, loud = 1) =>
  Float32Array.from({ length }, (_, i) => loud * Math.sin((2 * Math.PI * hertz * i) / rate));
const read = (sinc, samples) => Float32Array.from({ length: Math.floor(samples.length / sinc.step) },
  (_, i) => sinc.at(samples, samples.length, i * sinc.step));

for (const [from, to] of [[48000, 16000], [44100, 16000], [24000, 48000], [24000, 44100], [16000, 16000]]) {
  test(`a tone keeps its height and loudness from ${from} to ${to}`, () => {
    const sinc = new Sinc(from, to);
    const got = read(sinc, tone(1000, from, from / 5)).subarray(200, -200);
    const wanted = tone(1000, to, to / 5).subarray(200, -200);
    const worst = got.reduce((most, sample, i) => Math.max(most, Math.abs(sample - wanted[i])), 0);
    assert.ok(worst < 0.01, `${worst}`);
  });
}

test("what the lower rate cannot hold is taken away", () => {
  const high = read(new Sinc(48000, 16000), tone(11000, 48000, 9600)).subarray(200, -200);
  assert.ok(levelOf(high) < 0.002, `${levelOf(high)}`);
  assert.ok(levelOf(read(new Sinc(48000, 16000), tone(5000, 48000, 9600)).subarray(200, -200)) > 0.69);
});
