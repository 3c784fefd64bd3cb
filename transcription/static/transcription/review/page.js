// What every part of the page needs: the job's facts, and elements.

/** id, status, is_active, is_completed, has_failed, duration (seconds or null), is_read, model_name, language, takes_count */
export const facts = JSON.parse(document.getElementById("facts").textContent);

export const byId = (id) => document.getElementById(id);

/** An element: `text` is its text, everything else an attribute (undefined and false: none). */
export function element(tag, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(name, value);
  }
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

export function clone(templateId) {
  return byId(templateId).content.firstElementChild.cloneNode(true);
}

/** Say what went wrong in a place that is there for it; nothing hides it. */
export function tell(place, text) {
  place.textContent = text ?? "";
  place.hidden = !text;
}

/** What was chosen here before, kept in this browser; storage may be forbidden. */
export const kept = {
  get(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(name, value);
    } catch {
      // It is a convenience alone.
    }
  },
};

/** What `input.closest` finds for a place where keys write. */
export const FIELDS = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
