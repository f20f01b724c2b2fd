// Pairs of prompts that were labelled by hand: read from a file, or judged here. They stay in this page; the service keeps none of them.
import { post } from "./api.js";

const AT_ONCE = 50; // pairs in one request: so that something moves, and requests aren't held up for long
const CUT = 1000; // characters at which the request list cuts prompts

let labelled = []; // {a, b, same, operation}, and once they are decided {similarity, hit, reason}

export const all = () => labelled;
export const clear = () => { labelled = []; };
export const whole = (...prompts) => prompts.every((prompt) => prompt && prompt.length < CUT);
export const known = (a, b) => labelled.find((one) => one.a === a && one.b === b);

export function judge(a, b, same, operation) {
  labelled = [...labelled.filter((one) => one !== known(a, b)), { a, b, same, operation }];
}

export function read(text) {
  const rows = text.split("\n").map((line) => line.trim()).filter(Boolean).map((line, number) => {
    let row = null;
    try { row = JSON.parse(line); } catch { /* said below */ }
    if (!row?.a || !row.b || row.same === undefined) throw new Error(`Line ${number + 1} is no {"a": …, "b": …, "same": true or false}.`);
    return { a: row.a, b: row.b, same: row.same === null ? null : Boolean(row.same), operation: row.operation || undefined };
  });
  const judged = rows.filter((row) => row.same !== null); // null: nobody has judged it yet
  labelled = [...labelled, ...judged];
  return { judged: judged.length, open: rows.length - judged.length };
}

export async function decide(operation, progress) {
  const open = labelled.filter((one) => one.similarity === undefined);
  for (let start = 0; start < open.length; start += AT_ONCE) {
    progress(start, open.length);
    const some = open.slice(start, start + AT_ONCE);
    const asked = some.map(({ a, b, same, operation: own }) => ({ a, b, same, ...(own ? { operation: own } : {}) }));
    const { pairs } = await post("/admin/thresholds/pairs", { operation, pairs: asked });
    pairs.forEach(({ similarity, hit, reason }, position) => Object.assign(some[position], { similarity, hit, reason }));
  }
}

export const asFile = () => URL.createObjectURL(new Blob(
  labelled.map(({ a, b, same, operation }) => `${JSON.stringify({ a, b, same, operation })}\n`), { type: "application/x-ndjson" }));
