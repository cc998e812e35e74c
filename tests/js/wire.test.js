// What the page and the server say to each other. Run: npm test
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  MAX_INSERT, cleanText, codePoints, diffEdit, editMessages, problemsWith, sealText, understood,
} from "../../static/wire.js";

const cases = JSON.parse(readFileSync(new URL("../wire_cases.json", import.meta.url), "utf8"));

for (const { name, event, direction, invalid } of cases) {
  test(`case ${name}`, () => {
    const problems = problemsWith(event, direction);
    assert.equal(problems.length > 0, invalid === true, problems.join(", "));
    if (direction === "server" && !invalid) assert.deepEqual(understood(event), event);
    if (direction === "server" && invalid) assert.throws(() => understood(event));
  });
}

test("the cases hold every event of the wire", () => {
  const types = new Set(cases.filter((c) => !c.invalid).map((c) => c.event.type));
  assert.equal(types.size, 31);
});

test("an event of a newer server is ignored, a broken frame is not", () => {
  assert.equal(understood({ type: "duplex.weather", at: 1 }), null);
  assert.equal(understood({ type: "toString" }), null);
  assert.throws(() => understood([1]));
  assert.throws(() => understood("hello"));
});

/** The server's side: code points off the end, then text. */
const apply = (text, { delete: k, insert }) => codePoints(text).slice(0, codePoints(text).length - k).join("") + insert;

test("a message about a wrong event is short, however long its sound is", () => {
  const frame = { type: "response.output_audio.delta", system: "duplex", response_id: "r", start: 0, delta: "*".repeat(90000), characters: [0, 1] };
  assert.ok(problemsWith(frame, "server")[0].length < 400);
});

test("an edit makes the one text of the other", () => {
  const texts = ["", "h", "hello", "hello there", "hallo there", "😀", "😀😁", "a😀b", "👩‍👩‍👧", "👩‍👩‍👦", "é", "e"];
  for (const prev of texts) {
    for (const next of texts) {
      const edit = diffEdit(prev, next);
      assert.equal(edit ? apply(prev, edit) : prev, next);
      if (prev === next) assert.equal(edit, null);
    }
  }
});

test("edits count code points, not UTF-16 units", () => {
  assert.deepEqual(diffEdit("a😀", "a😁"), { delete: 1, insert: "😁" });
  assert.deepEqual(diffEdit("a😀b", "ab"), { delete: 2, insert: "b" });
});

test("a change in the middle deletes back to it", () => {
  assert.deepEqual(diffEdit("tell me about cats", "tell us about cats"), { delete: 13, insert: "us about cats" });
});

test("a long paste is split, deleting once, and never inside a character", () => {
  const paste = "😀".repeat(MAX_INSERT + 5);
  const messages = editMessages("abc", `a${paste}`);
  assert.deepEqual(messages.map((m) => m.delete), [2, 0]);
  assert.ok(messages.every((m) => problemsWith(m, "client").length === 0));
  assert.equal(messages.reduce(apply, "abc"), `a${paste}`);
});

test("an insert of more than the limit is not valid", () => {
  const edit = { type: "duplex.input.edit", delete: 0, insert: "a".repeat(MAX_INSERT + 1) };
  assert.equal(problemsWith(edit, "client").length, 1);
});

test("the box holds one line of well-formed text", () => {
  assert.equal(cleanText("a\r\nb\nc\td\u0000e\ud83df😀"), "a b c def😀");
});

test("sealing takes the sealed text out of the box", () => {
  assert.deepEqual(sealText(["", "hi", "hi there"], 2), { said: "hi", removed: 2 });
  assert.deepEqual(sealText(["😀 a"], 1), { said: "😀", removed: 1 });
});

test("sealing while an edit is under way ends with the server's text", () => {
  for (const [then, now, sealed] of [["abc", "axy", 3], ["abc def", "ab", 3], ["abc", "", 3], ["abc", "abcd", 3], ["abc", "xyz", 2]]) {
    const server = apply(then, { delete: 0, insert: "" });
    const unsealed = codePoints(server).slice(sealed).join("");
    const edit = diffEdit(then, now);
    const after = codePoints(unsealed).slice(0, Math.max(0, unsealed.length - edit.delete)).join("") + edit.insert;
    const { said, removed } = sealText(["", then, now], sealed, then.slice(0, sealed).split(" ").at(-1));
    assert.equal(said, then.slice(0, sealed));
    assert.equal(now.slice(removed), after, `${then} → ${now}`);
  }
});
