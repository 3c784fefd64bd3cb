// The transcript's data: segments in order of time. Dispatches "change", and "words" if only words were loaded for
// segments that are otherwise unchanged.

import { api } from "../shared.js";
import { facts } from "./page.js";

const SHOWN = ["text", "speaker", "start", "end"];

class Transcript extends EventTarget {
  segments = [];
  revision = null;
  #byId = new Map();

  get(id) {
    return this.#byId.get(Number(id));
  }

  indexOf(segment) {
    const index = this.#position(segment);
    return this.segments[index]?.id === segment.id ? index : -1;
  }

  before(segment) {
    return this.segments[this.indexOf(segment) - 1];
  }

  after(segment) {
    return this.segments[this.indexOf(segment) + 1];
  }

  /** The segment at a time, or the last one before it. */
  at(time) {
    return this.segments[this.#position({ start: time, id: Infinity }) - 1];
  }

  /** The speakers in order of appearance: a map from names to numbers of segments. */
  speakers() {
    const counts = new Map();
    for (const { speaker } of this.segments) {
      if (speaker !== null) counts.set(speaker, (counts.get(speaker) ?? 0) + 1);
    }
    return counts;
  }

  /** Fetch the segments without words: for three hours, this takes a third of the time. */
  async loadTexts() {
    const { segments } = await api("GET", `/api/transcribe/result/${facts.id}?partial=true`);
    this.change(segments);
  }

  /** Fetch the whole transcript with words; unchanged segments are kept. */
  async load() {
    const path = `/api/transcribe/result/${facts.id}?partial=true&words=true`;
    const { segments, revision, ...rest } = await api("GET", path);
    const ids = new Set(segments.map((segment) => segment.id));
    this.revision = revision;
    this.change(segments, this.segments.filter(({ id }) => !ids.has(id)).map(({ id }) => id));
    return rest;
  }

  clear() {
    this.revision = null;
    this.change([], this.segments.map(({ id }) => id));
  }

  /** Add or replace `segments`, and remove those with the ids `removedIds`. */
  change(segments, removedIds = []) {
    const removed = removedIds.map(Number).filter((id) => this.#byId.has(id));
    const whole = segments.map((segment) => this.#withWords(segment));
    const updated = whole.filter((segment) => this.#isChanged(segment));
    if (whole.length > updated.length) this.#updateWords(whole);
    if (!removed.length && !updated.length) return;
    const touched = new Set([...removed, ...updated.map(({ id }) => id)]);
    const replaced = new Set(updated.filter(({ id }) => this.#byId.has(id)).map(({ id }) => id));
    if (replaced.size || removed.length) {
      this.segments = this.segments.filter(({ id }) => !touched.has(id));
    }
    for (const id of removed) this.#byId.delete(id);
    for (const segment of updated) this.#byId.set(segment.id, segment);
    if (updated.length > 20) {
      this.segments = this.segments.concat(updated).sort((a, b) => a.start - b.start || a.id - b.id);
    } else {
      for (const segment of updated) this.segments.splice(this.#position(segment), 0, segment);
    }
    this.dispatchEvent(new CustomEvent("change", { detail: { updated, removed } }));
  }

  /** Live messages have no words: keep the known ones while the text is the same. */
  #withWords(segment) {
    const known = this.#byId.get(segment.id);
    if (segment.words || !known?.words || known.text !== segment.text) return segment;
    return { ...segment, words: known.words, edited: known.edited };
  }

  #isChanged(segment) {
    const known = this.#byId.get(segment.id);
    if (!known || Boolean(known.edited) !== Boolean(segment.edited)) return true;
    return SHOWN.some((name) => known[name] !== segment[name]);
  }

  /** Store the words of segments that are otherwise unchanged. */
  #updateWords(segments) {
    for (const segment of segments) {
      const known = this.#byId.get(segment.id);
      if (known && !this.#isChanged(segment)) Object.assign(known, segment);
    }
    this.dispatchEvent(new Event("words"));
  }

  /** The index of a segment, or where it would be inserted (binary search). */
  #position({ start, id }) {
    let [low, high] = [0, this.segments.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.segments[middle];
      if (other.start < start || (other.start === start && other.id < id)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export const transcript = new Transcript();
