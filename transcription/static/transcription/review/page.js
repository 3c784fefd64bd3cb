// Helpers of all modules of the review page: the job's data, elements, local storage.

/**
 * id, status, is_active, is_completed, has_failed, duration (seconds or null), is_decoded, model_name, language,
 * takes_count; and who looks: can_change, can_share, can_chat, is_owner, is_link (a share link alone shows the page)
 */
export const facts = JSON.parse(document.getElementById("facts").textContent);

export const byId = (id) => document.getElementById(id);

/** Create an element. `text` is its text, everything else an attribute (undefined and false: none). */
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

/** Show an error message in an element; without a text, hide the element. */
export function showProblem(target, text) {
  target.textContent = text ?? "";
  target.hidden = !text;
}

/** localStorage, whose absence (it may be blocked) is ignored. */
export const storage = {
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
      // Only a convenience.
    }
  },
};

/** A selector of the fields in which keys type text. */
export const TEXT_FIELDS = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
