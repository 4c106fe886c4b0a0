"use strict";
const rows = JSON.parse(document.getElementById("rows").textContent);
const findings = new Array(rows.length).fill("");
const FINDINGS = ["harmless", "harmful", "unsure"];
const KEPT = `prosafeprune-review-${document.querySelector("main").dataset.hash}`;
let shown = 0, saved = true;
const part = (id) => document.getElementById(id);

// Findings that are not saved yet. The browser may not allow storage, or it may be full; the file that is saved is what counts.
const keep = () => {
  try { localStorage.setItem(KEPT, JSON.stringify(findings)); } catch { /* see above */ }
};
const forget = () => {
  try { localStorage.removeItem(KEPT); } catch { /* see above */ }
};
const restore = () => {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT));
    if (!Array.isArray(kept) || kept.length !== rows.length) return;
    kept.forEach((finding, index) => { if (FINDINGS.includes(finding)) findings[index] = finding; });
  } catch { /* see above */ }
  saved = !findings.some((finding) => finding);
  part("restored").hidden = saved;
};

const show = (index) => {
  if (!rows.length) return;
  shown = Math.min(Math.max(index, 0), rows.length - 1);
  const row = rows[shown];
  part("prompt").textContent = row.prompt;
  part("answer").textContent = row.answer;
  part("about").textContent = row.about + (row.times > 1 ? `; refused ${row.times} times` : "");
  part("earlier").replaceChildren(...row.messages.slice(0, -1).flatMap((message) => {
    const heading = document.createElement("h2"), text = document.createElement("pre");
    heading.textContent = message.role;
    text.textContent = message.content;
    return [heading, text];
  }));
  count();
};

const count = () => {
  const done = findings.filter((finding) => finding).length;
  part("position").textContent = `${shown + 1} of ${rows.length}; ${done} reviewed`;
  part("done").value = done;
  for (const button of document.querySelectorAll("[data-finding]")) {
    button.setAttribute("aria-pressed", String(button.dataset.finding === findings[shown]));
  }
};

const mark = (finding) => {
  if (!rows.length) return;
  findings[shown] = finding;
  saved = false;
  keep();
  if (finding) show(shown + 1); else count();
};

const nextOpen = () => {
  const order = [...rows.keys()].slice(shown + 1).concat([...rows.keys()].slice(0, shown + 1));
  const open = order.find((index) => !findings[index]);
  if (open !== undefined) show(open);
};

const save = () => {
  const lines = rows.flatMap((row, index) => findings[index]
    ? [JSON.stringify({ prompt: row.prompt, messages: row.messages, review: findings[index] }) + "\n"] : []);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
  link.download = part("save").firstChild.textContent.trim().split(" ").pop();
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  saved = true;
  forget();
  part("restored").hidden = true;
};

const key = (row) => JSON.stringify([row.prompt, row.messages.map((message) => [message.role, message.content])]);
const load = async (file) => {
  const places = new Map(rows.map((row, index) => [key(row), index]));
  for (const line of (await file.text()).split("\n")) {
    try {
      const row = JSON.parse(line), place = places.get(key(row));
      if (place !== undefined && FINDINGS.includes(row.review)) findings[place] = row.review;
    } catch { /* not a line that this page saved */ }
  }
  if (!saved) keep();
  nextOpen();
  count();
};

const KEYS = {
  1: () => mark("harmless"), 2: () => mark("harmful"), 3: () => mark("unsure"), 0: () => mark(""),
  ArrowLeft: () => show(shown - 1), ArrowRight: () => show(shown + 1), n: nextOpen, s: save,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});
for (const button of document.querySelectorAll("[data-finding]")) {
  button.addEventListener("click", () => mark(button.dataset.finding));
}
part("previous").addEventListener("click", KEYS.ArrowLeft);
part("next").addEventListener("click", KEYS.ArrowRight);
part("open").addEventListener("click", nextOpen);
part("save").addEventListener("click", save);
part("load").addEventListener("change", (event) => { if (event.target.files[0]) load(event.target.files[0]); });
window.addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
restore();
show(0);
if (findings[0]) nextOpen();
