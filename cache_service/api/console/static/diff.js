// Two prompts side by side, with the words marked in which they differ: the longest common subsequence of words stays unmarked.
import { h } from "./dom.js";

const MOST = 600; // words; the table has their square

export function wordsOf(text) {
  const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });
  return [...segmenter.segment(text)].map((part) => ({ text: part.segment, word: part.isWordLike }));
}

export function differences(one, other) {
  const [a, b] = [wordsOf(one).slice(0, MOST), wordsOf(other).slice(0, MOST)];
  const same = (i, j) => a[i].text.toLowerCase() === b[j].text.toLowerCase();
  const length = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      length[i][j] = same(i, j) ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  const marked = [new Set(), new Set()];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && same(i, j)) { i++; j++; }
    else if (j >= b.length || (i < a.length && length[i + 1][j] >= length[i][j + 1])) marked[0].add(i++);
    else marked[1].add(j++);
  }
  return [shown(a, marked[0], one), shown(b, marked[1], other)];
}

function shown(words, marked, whole) {
  const parts = words.map((part, position) => (marked.has(position) && part.text.trim() ? h("mark", {}, part.text) : part.text));
  const rest = whole.slice(words.reduce((length, part) => length + part.text.length, 0));
  return [...parts, rest];
}

export function pair(titleOne, one, titleOther, other) {
  const [left, right] = differences(one, other);
  return h("div", { class: "pair" },
    h("div", {}, h("h2", {}, titleOne), h("p", {}, left)), h("div", {}, h("h2", {}, titleOther), h("p", {}, right)));
}
