// The chat panel: questions about the transcript; answers come as they are written, with the passages they stand on.

import { clock, csrfToken, detailOf } from "../shared.js";
import { eventsOf } from "./events.js";
import { goTo } from "./follow.js";
import { byId, element, facts } from "./page.js";
import { playFrom } from "./player.js";
import { showTab } from "./tabs.js";

const form = byId("chat-form");
const log = byId("chat-log");
const question = form.elements.question;
let messages = [];
let asking = null;

async function ask(event) {
  event.preventDefault();
  const content = question.value.trim();
  if (!content || asking) return;
  messages.push({ role: "user", content });
  question.value = "";
  log.append(element("p", { class: "chat-question", text: content }));
  const answer = element("div", { class: "chat-answer" });
  const text = answer.appendChild(element("p", { class: "written" }));
  log.append(answer);
  working(true);
  try {
    await stream(text, answer);
  } catch (error) {
    const isStopped = error.name === "AbortError";
    const [kind, reason] = isStopped ? ["muted", "Stopped."] : ["problem", error.message];
    answer.append(element("p", { class: kind, text: reason }));
    if (!text.textContent) question.value ||= messages.pop().content;
  }
  if (text.textContent) messages.push({ role: "assistant", content: text.textContent });
  else text.remove();
  working(false);
}

/** Write the answer as it comes. Throws what went wrong. */
async function stream(text, answer) {
  const response = await fetch("/api/chat/", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": csrfToken() },
    body: JSON.stringify({ job_id: facts.id, messages, model_name: form.elements.model_name.value, stream: true }),
    signal: asking.signal,
  });
  if (!response.ok) throw new Error(await detailOf(response));
  for await (const data of eventsOf(response)) {
    if (data === "[DONE]") return;
    const { choices, error, citations, model } = JSON.parse(data);
    if (error) throw new Error(error.message);
    text.textContent += choices[0]?.delta.content ?? "";
    if (citations) showSources(answer, citations, model);
    answer.scrollIntoView({ block: "nearest" });
  }
  throw new Error("The answer broke off: the connection was lost.");
}

function showSources(answer, citations, model) {
  const items = citations.map((passage) => element("li", {}, citation(passage)));
  if (items.length) answer.append(element("ul", { class: "citations", "aria-label": "Passages" }, ...items));
  answer.append(element("p", { class: "muted", text: `by ${model}` }));
}

function citation({ start, speaker, text }) {
  const said = [speaker, text].filter(Boolean).join(": ");
  if (start === null) return element("span", { text: said });
  const button = element("button", { type: "button" }, element("span", { class: "time", text: clock(start) }), said);
  button.addEventListener("click", () => {
    showTab("transcript");
    goTo(start);
    playFrom(start);
  });
  return button;
}

function working(is) {
  asking = is ? new AbortController() : null;
  log.setAttribute("aria-busy", String(is));
  form.querySelector("[type=submit]").disabled = is;
  byId("chat-stop").hidden = !is;
  byId("chat-clear").hidden = is || !messages.length;
  if (!is) question.focus({ preventScroll: true });
}

function clear() {
  messages = [];
  log.replaceChildren();
  byId("chat-clear").hidden = true;
}

form.addEventListener("submit", ask);
byId("chat-stop").addEventListener("click", () => asking?.abort());
byId("chat-clear").addEventListener("click", clear);
question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});
