// The chat panel: questions about the transcript; answers are streamed, with the passages that they cite.

import { clock, csrfToken, detailOf } from "../shared.js";
import { readEvents } from "./events.js";
import { goTo } from "./follow.js";
import { byId, element, facts } from "./page.js";
import { playFrom } from "./player.js";
import { showTab } from "./tabs.js";

const form = byId("chat-form");
const log = byId("chat-log");
const question = form.elements.question;
let messages = []; // what was asked and answered; a question without any answer is not among them
let failure = null; // the element that says why the question that is in the field again was not answered
let request = null; // the AbortController of the question in progress

async function submitQuestion(event) {
  event.preventDefault();
  const content = question.value.trim();
  if (!content || request) return;
  failure?.remove();
  messages.push({ role: "user", content });
  question.value = "";
  const asked = element("p", { class: "chat-question", text: content });
  log.append(asked);
  const answer = element("div", { class: "chat-answer" });
  const text = answer.appendChild(element("p", { class: "written" }));
  log.append(answer);
  setBusy(true);
  try {
    await streamAnswer(text, answer);
  } catch (error) {
    const isStopped = error.name === "AbortError";
    const [kind, reason] = isStopped ? ["muted", "Stopped."] : ["problem", error.message];
    answer.append(element("p", { class: kind, text: reason }));
    if (!text.textContent) takeBack(asked, answer);
  }
  if (text.textContent) messages.push({ role: "assistant", content: text.textContent });
  else text.remove();
  setBusy(false);
}

/** The question has no answer: put it back into the field, unless something was typed there meanwhile. */
function takeBack(asked, answer) {
  const { content } = messages.pop();
  if (question.value.trim()) return;
  question.value = content;
  asked.remove();
  failure = answer;
}

/** Send the question and show the answer as it is streamed. Throws an Error with the reason if that fails. */
async function streamAnswer(text, answer) {
  const response = await fetch("/api/chat/", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": csrfToken() },
    body: JSON.stringify({ job_id: facts.id, messages, model_name: form.elements.model_name.value, stream: true }),
    signal: request.signal,
  });
  if (!response.ok) throw new Error(await detailOf(response));
  for await (const data of readEvents(response)) {
    if (data === "[DONE]") return;
    const { choices, error, citations, model } = JSON.parse(data);
    if (error) throw new Error(error.message);
    text.textContent += choices[0]?.delta.content ?? "";
    if (citations) showSources(answer, citations, model);
    answer.scrollIntoView({ block: "nearest" });
  }
  throw new Error("The answer is incomplete: the connection was lost.");
}

function showSources(answer, citations, model) {
  const items = citations.map((citation) => element("li", {}, citationElement(citation)));
  if (items.length) answer.append(element("ul", { class: "citations", "aria-label": "Passages" }, ...items));
  answer.append(element("p", { class: "muted", text: `by ${model}` }));
}

function citationElement({ start, speaker, text }) {
  const label = [speaker, text].filter(Boolean).join(": ");
  if (start === null) return element("span", { text: label });
  const button = element("button", { type: "button" }, element("span", { class: "time", text: clock(start) }), label);
  button.addEventListener("click", () => {
    showTab("transcript");
    goTo(start);
    playFrom(start);
  });
  return button;
}

function setBusy(isBusy) {
  request = isBusy ? new AbortController() : null;
  log.setAttribute("aria-busy", String(isBusy));
  form.querySelector("[type=submit]").disabled = isBusy;
  byId("chat-stop").hidden = !isBusy;
  byId("chat-clear").hidden = isBusy || !log.childElementCount;
  if (!isBusy) question.focus({ preventScroll: true });
}

function clear() {
  messages = [];
  log.replaceChildren();
  byId("chat-clear").hidden = true;
}

form.addEventListener("submit", submitQuestion);
byId("chat-stop").addEventListener("click", () => request?.abort());
byId("chat-clear").addEventListener("click", clear);
question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});
