// A word diff of two texts.

import { element } from "./page.js";

// A word with the space before it; each Han or kana character counts as a word.
const WORD = /\s*(?:[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}]|[^\s\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}]+)/gu;

/**
 * The diff as a list of [kind, text], where the kind is "same", "old" or "new".
 * Computed from the longest common subsequence of words (Wagner & Fischer 1974).
 */
function diff(before, after) {
  const [a, b] = [before.match(WORD) ?? [], after.match(WORD) ?? []];
  const same = (i, j) => a[i].trim() === b[j].trim();
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = same(i, j)
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const parts = [];
  const add = (kind, text) => {
    if (parts.at(-1)?.[0] === kind) parts.at(-1)[1] += text;
    else parts.push([kind, text]);
  };
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && same(i, j)) {
      add("same", b[j]);
      i += 1;
      j += 1;
    } else if (j === b.length || (i < a.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      add("old", a[i]);
      i += 1;
    } else {
      add("new", b[j]);
      j += 1;
    }
  }
  return parts;
}

/** The diff as `del` and `ins` elements, with hidden labels for screen readers. */
export function diffElements(before, after) {
  return diff(before, after).map(([kind, text]) => {
    if (kind === "same") return document.createTextNode(text);
    const [tag, word] = kind === "old" ? ["del", "removed:"] : ["ins", "added:"];
    return element(tag, {}, element("span", { class: "visually-hidden", text: ` ${word} ` }), text);
  });
}
