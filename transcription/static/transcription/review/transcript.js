// The transcript as data: segments in order of time. Whoever shows it listens to "change", and to "words" for words
// that are known of segments which stay as they are.

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
    const index = this.#place(segment);
    return this.segments[index]?.id === segment.id ? index : -1;
  }

  before(segment) {
    return this.segments[this.indexOf(segment) - 1];
  }

  after(segment) {
    return this.segments[this.indexOf(segment) + 1];
  }

  /** The segment that is spoken at a time, or was the last before it. */
  at(time) {
    return this.segments[this.#place({ start: time, id: Infinity }) - 1];
  }

  /** The names of speakers, in order of appearance, and how many segments each has. */
  speakers() {
    const counts = new Map();
    for (const { speaker } of this.segments) {
      if (speaker !== null) counts.set(speaker, (counts.get(speaker) ?? 0) + 1);
    }
    return counts;
  }

  /** Fetch what was said, without words: of three hours it comes in a third of the time. */
  async loadTexts() {
    const { segments } = await api("GET", `/api/transcribe/result/${facts.id}?partial=true`);
    this.change(segments);
  }

  /** Fetch all of it; what is the same already stays untouched. */
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

  /** Put segments in, new ones and others in place of what they were, and take some out. */
  change(segments, removed = []) {
    const gone = removed.map(Number).filter((id) => this.#byId.has(id));
    const whole = segments.map((segment) => this.#withWords(segment));
    const put = whole.filter((segment) => this.#isNews(segment));
    if (whole.length > put.length) this.#learnWords(whole);
    if (!gone.length && !put.length) return;
    const touched = new Set([...gone, ...put.map(({ id }) => id)]);
    const wereThere = new Set(put.filter(({ id }) => this.#byId.has(id)).map(({ id }) => id));
    if (wereThere.size || gone.length) {
      this.segments = this.segments.filter(({ id }) => !touched.has(id));
    }
    for (const id of gone) this.#byId.delete(id);
    for (const segment of put) this.#byId.set(segment.id, segment);
    if (put.length > 20) {
      this.segments = this.segments.concat(put).sort((a, b) => a.start - b.start || a.id - b.id);
    } else {
      for (const segment of put) this.segments.splice(this.#place(segment), 0, segment);
    }
    this.dispatchEvent(new CustomEvent("change", { detail: { put, removed: gone } }));
  }

  /** Live messages have no words: those that are known stay while the text is the same. */
  #withWords(segment) {
    const known = this.#byId.get(segment.id);
    if (segment.words || !known?.words || known.text !== segment.text) return segment;
    return { ...segment, words: known.words, edited: known.edited };
  }

  #isNews(segment) {
    const known = this.#byId.get(segment.id);
    if (!known || Boolean(known.edited) !== Boolean(segment.edited)) return true;
    return SHOWN.some((name) => known[name] !== segment[name]);
  }

  /** Take the words of segments that are the same otherwise. */
  #learnWords(segments) {
    for (const segment of segments) {
      const known = this.#byId.get(segment.id);
      if (known && !this.#isNews(segment)) Object.assign(known, segment);
    }
    this.dispatchEvent(new Event("words"));
  }

  /** The index at which a segment stands, or would. */
  #place({ start, id }) {
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
