// The history panel: edits and accepted retranslations, by whom and when; each can be undone.

import { api, clock, notice } from "../shared.js";
import { undoAccepted } from "./retranslate.js";
import { diffElements } from "./diff.js";
import { edits as editEvents, reload, undo } from "./edits.js";
import { goTo } from "./follow.js";
import { byId, element, facts, showProblem } from "./page.js";
import { showTab, tabs } from "./tabs.js";
import { transcript } from "./transcript.js";

const KINDS = {
  text: "Text",
  speaker: "Speaker",
  split: "Split",
  merge: "Merged",
  remove: "Removed",
  rename: "Renamed everywhere",
  retranslation: "Transcribed again",
};
let filter = null; // the segment whose history is shown; null for the whole transcript

export function showHistoryOf(segment) {
  filter = segment;
  showTab("history");
}

async function load() {
  const label = byId("history-filter");
  label.hidden = filter === null;
  if (filter) label.firstElementChild.textContent = `Only the segment at ${clock(filter.start)}.`;
  const query = filter ? `segment_id=${filter.id}` : "";
  try {
    const [{ edits }, { retranslations }] = await Promise.all([
      api("GET", `/api/transcribe/edits/${facts.id}?${query}`),
      api("GET", `/api/retranslate/?job_id=${facts.id}&${query}`),
    ]);
    const accepted = retranslations.filter(({ decision }) => decision === "accepted").map(asEntry);
    const all = [...edits, ...accepted].sort((a, b) => b.created_at - a.created_at);
    byId("history-list").replaceChildren(...all.map(entryElement));
    showProblem(byId("history-problem"));
    byId("history-none").hidden = all.length > 0;
  } catch (error) {
    showProblem(byId("history-problem"), error.message);
  }
}

const asEntry = ({ id, decided_at, decided_by, text, model_used, changes }) => ({
  id,
  kind: "retranslation",
  summary: `${model_used}: “${text}”`,
  done_by: decided_by,
  created_at: decided_at,
  undone_at: null,
  changes: changes.map(({ segment_id, old_text, new_text }) => ({
    segment_id,
    before: { text: old_text ?? "" },
    after: { text: new_text ?? "" },
  })),
});

function entryElement(edit) {
  const when = new Date(1000 * edit.created_at);
  const shown = when.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const item = element(
    "li",
    { class: edit.undone_at ? "undone" : undefined },
    element(
      "p",
      { class: "history-what" },
      element("strong", { text: KINDS[edit.kind] ?? edit.kind }),
      ...(edit.undone_at ? [" ", element("span", { class: "tag", text: "undone" })] : []),
    ),
    summaryElement(edit),
    element(
      "p",
      { class: "muted" },
      element("time", { datetime: when.toISOString(), text: shown }),
      edit.done_by ? ` by ${edit.done_by}` : "",
    ),
  );
  const segment = edit.changes.map(({ segment_id }) => transcript.get(segment_id)).find(Boolean);
  const buttons = element("div", { class: "fields" });
  if (segment) buttons.append(button(`Go to ${clock(segment.start)}`, () => goToSegment(segment)));
  if (!edit.undone_at && facts.can_change) buttons.append(button("Undo", () => undoEntry(edit)));
  item.append(buttons);
  return item;
}

function summaryElement(edit) {
  const [first] = edit.changes;
  const isText = (edit.kind === "text" || edit.kind === "retranslation") && edit.changes.length === 1;
  if (!isText) return element("p", { text: edit.summary });
  return element("p", { class: "diff" }, ...diffElements(first.before.text, first.after.text));
}

function button(text, run) {
  const made = element("button", { type: "button", text });
  made.addEventListener("click", run);
  return made;
}

function goToSegment(segment) {
  showTab("transcript");
  goTo(segment.start);
}

async function undoEntry({ id, kind }) {
  if (kind === "retranslation") return undoAccepted(id);
  try {
    await undo(id);
  } catch (error) {
    notice(error.message);
    load();
  }
}

const isShown = () => !byId("panel-history").hidden;

/** Reload the transcript if it was edited elsewhere. */
export async function reloadIfChanged() {
  const { revision } = await api("GET", `/api/transcribe/edits/${facts.id}?limit=0`);
  if (revision === transcript.revision) return;
  await reload();
  editEvents.dispatchEvent(new Event("done"));
}

byId("history-filter").querySelector("button").addEventListener("click", () => {
  filter = null;
  load();
});
editEvents.addEventListener("done", () => isShown() && load());
tabs.addEventListener("history", load);
