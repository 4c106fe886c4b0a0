// The playground's page. Everything a model, a prompt or a server says is put into the page as text, never as HTML.
"use strict";

const element = (id) => document.getElementById(id);
const SIDES = ["base", "pruned"];
const AT_A_TIME = 4; // prompts of a run
let state = null;
const running = new Map(); // the AbortController of each side's answer in progress
let asked = null; // the last prompt
let runControl = null; // the AbortController of the run in progress
let baseVerdicts = new Map(); // the base model's answers do not depend on the strength

const token = (() => {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  return given || sessionStorage.getItem("token") || "";
})();

async function ask(path, body, signal) {
  const options = { headers: { Authorization: `Bearer ${token}` }, signal };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const reply = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The playground does not answer. Start it again in the terminal.");
  });
  if (!reply.ok) {
    const content = await reply.json().catch(() => null);
    throw new Error(content?.error?.message ?? `HTTP ${reply.status}`);
  }
  return reply;
}

async function* events(path, body, signal) {
  const reader = (await ask(path, body, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
  }
}

function problem(error) {
  if (error?.name === "AbortError") return;
  element("problem").textContent = error ? error.message : "";
  element("problem").hidden = !error;
}

let own = true; // whether the plan has its own strengths, which a slider may not be able to show exactly
const edit = () => state.edits.find((one) => one.name === element("plan").value) ?? null;
const sliders = () => [...element("layers").querySelectorAll("input")];
const strengths = () => (own ? (edit()?.strengths ?? []) : sliders().map((one) => Number(one.value)));

function settings() {
  return {
    edit: edit()?.name ?? null,
    strengths: strengths(),
    system: element("system").value,
    max_tokens: Number(element("tokens").value),
    temperature: Number(element("temperature").value),
  };
}

function show(verdict, where, kind) {
  where.replaceChildren();
  if (!verdict) return;
  const [good, bad] = kind === "harmful" ? [verdict.safe, verdict.complies] : [verdict.complies, verdict.refuses];
  const name = document.createElement("span");
  name.className = good ? "good" : bad ? "bad" : "neither";
  name.textContent = verdict.class;
  where.append(name, `: ${verdict.reason}`);
}

function showRefusal(side, value) {
  const where = element(side).querySelector(".refusal");
  where.hidden = value === null;
  if (value === null) return;
  where.querySelector("meter").value = value;
  where.querySelector("span").textContent = `refusal probability ${Math.round(100 * value)} %, from the first tokens`;
}

async function answerSide(side) {
  running.get(side)?.abort();
  const control = new AbortController();
  const where = element(side).querySelector(".answer");
  running.set(side, control);
  where.textContent = "";
  where.classList.add("waiting");
  show(null, element(side).querySelector(".verdict"));
  showRefusal(side, null);
  showStop();
  try {
    for await (const event of events("api/answer", { prompt: asked, sides: [side], ...settings() }, control.signal)) {
      if (event.error) throw new Error(event.error.message);
      if (event.text) where.append(event.text);
      if (event.refusal !== undefined) showRefusal(side, event.refusal);
      if (event.verdict) show(event.verdict, element(side).querySelector(".verdict"));
      if (event.finish) where.classList.remove("waiting");
    }
  } catch (error) {
    problem(error);
  } finally {
    if (running.get(side) === control) {
      running.delete(side);
      where.classList.remove("waiting");
    }
    showStop();
  }
}

function showStop() {
  element("stop").disabled = running.size === 0 && !runControl;
}

function answer(sides) {
  problem(null);
  for (const side of sides) answerSide(side);
}

function stop() {
  for (const one of running.values()) one.abort();
  runControl?.abort();
}

// Strength: one slider for all layers, one for each behind "More".
function showStrengths() {
  const values = strengths();
  const same = values.every((one) => one === values[0]);
  element("strength-value").textContent = same ? (values[0] ?? 0).toFixed(2) : "mixed";
  for (const [index, one] of sliders().entries()) one.nextElementSibling.textContent = values[index].toFixed(2);
  element("pruned-title").textContent = edit() ? `${edit().title}, strength ${same ? (values[0] ?? 0).toFixed(2) : values.map((one) => one.toFixed(2)).join(", ")}` : "Pruned model";
}

let later = null;
function strengthChanged() {
  own = false;
  showStrengths();
  clearTimeout(later);
  later = setTimeout(() => { if (asked !== null && edit()) answer(["pruned"]); }, 250);
}

function setAll(value) {
  element("strength").value = value;
  for (const one of sliders()) one.value = element("strength").value;
  strengthChanged();
}

function showPlan() {
  const one = edit();
  element("layers").replaceChildren();
  element("plan-text").textContent = one ? one.text : "No pruned model is given: this is the base model alone.";
  element("strength").disabled = !one;
  element("strength").max = one?.largest ?? 1; // before the value, which it would cut
  element("pruned").hidden = !one;
  element("save-title").parentElement.hidden = !one || !one.savable;
  for (const [index, layer] of (one?.layers ?? []).entries()) {
    const row = document.createElement("div");
    row.className = "slider";
    const label = document.createElement("label");
    label.textContent = `Layer ${layer}`;
    label.htmlFor = `layer-${layer}`;
    const input = document.createElement("input");
    Object.assign(input, { id: `layer-${layer}`, type: "range", min: 0, max: one.largest, step: 0.05, value: one.strengths[index] });
    input.addEventListener("input", strengthChanged);
    row.append(label, input, document.createElement("output"));
    element("layers").append(row);
  }
  own = true;
  const values = one?.strengths ?? [0];
  element("strength").value = values.reduce((sum, each) => sum + each, 0) / values.length;
  showStrengths();
  showPicture();
}

async function showPicture() {
  const image = element("picture");
  element("picture-title").parentElement.hidden = !edit();
  if (!edit()) return;
  try {
    const found = await (await ask(`api/picture?edit=${encodeURIComponent(edit().name)}`)).json();
    image.src = found.image;
    image.alt = found.description;
    element("caption").textContent = found.caption;
    image.hidden = false;
  } catch (error) {
    image.hidden = true;
    element("caption").textContent = error.message;
  }
}

// The user's own prompts: rates are updated with every verdict.
async function judged(request, signal) {
  const found = {};
  for await (const event of events("api/answer", request, signal)) {
    if (event.error) throw new Error(event.error.message);
    if (event.verdict) found[event.side] = event.verdict;
  }
  return found;
}

function showRates(rows) {
  element("rates").hidden = false;
  for (const [index, kind] of ["harmless", "harmful"].entries()) {
    const cells = element("rates").tBodies[0].rows[index].cells;
    for (const [column, side] of SIDES.entries()) {
      const known = rows.filter((row) => row.kind === kind && row[side]);
      const good = known.filter((row) => (kind === "harmless" ? row[side].complies : row[side].safe)).length;
      cells[column + 1].textContent = known.length ? `${((100 * good) / known.length).toFixed(0)} % (${good} of ${known.length})` : "";
    }
  }
}

async function run() {
  const rows = ["harmless", "harmful"].flatMap((kind) =>
    element(kind).value.split("\n").map((one) => one.trim()).filter(Boolean).map((prompt) => ({ prompt, kind })));
  if (!rows.length) return;
  const body = element("runs").tBodies[0];
  body.replaceChildren();
  element("runs").hidden = false;
  element("run").disabled = true;
  const control = (runControl = new AbortController());
  showStop();
  for (const id of ["rates", "runs"]) element(id).tHead.rows[0].cells[2].textContent = element("pruned-title").textContent;
  for (const row of rows) {
    row.line = body.insertRow();
    const name = document.createElement("th");
    name.scope = "row";
    name.dir = "auto";
    name.textContent = row.prompt;
    if (row.kind === "harmful") {
      const mark = document.createElement("div");
      mark.className = "muted";
      mark.textContent = "should be refused";
      name.append(mark);
    }
    row.line.append(name, document.createElement("td"), document.createElement("td"));
  }
  const left = [...rows];
  const chosen = settings(); // of the complete run, whatever the sliders do meanwhile
  const work = async () => {
    for (let row; (row = left.shift()); ) {
      const { prompt, kind } = row;
      const key = JSON.stringify([prompt, kind, chosen.system, chosen.max_tokens, chosen.temperature]);
      const known = baseVerdicts.get(key);
      const sides = [...(known ? [] : ["base"]), ...(chosen.edit ? ["pruned"] : [])];
      if (known) row.base = known;
      if (sides.length) Object.assign(row, await judged({ prompt, kind, sides, ...chosen }, control.signal));
      if (row.base) baseVerdicts.set(key, row.base);
      SIDES.forEach((side, index) => show(row[side], row.line.cells[index + 1], row.kind));
      showRates(rows);
    }
  };
  try {
    problem(null);
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
  } catch (error) {
    left.length = 0;
    problem(error);
  } finally {
    runControl = null;
    element("run").disabled = false;
    showStop();
  }
}

// Saving: the command runs on the server, and its output is shown.
async function followSave() {
  const found = await (await ask("api/save")).json();
  element("log").hidden = !found.command;
  element("log").textContent = [found.command, ...found.lines].join("\n");
  element("log").scrollTop = element("log").scrollHeight;
  element("save-button").disabled = found.running;
  element("saved").textContent = found.outcome;
  if (found.running) setTimeout(() => followSave().catch(problem), 1000);
}

async function start() {
  state = await (await ask("api/state")).json();
  element("model").textContent = `${state.model} | judge: ${state.judge}`;
  for (const one of state.edits) element("plan").add(new Option(one.title, one.name, one.name === state.default, one.name === state.default));
  element("plans").hidden = state.edits.length < 2;
  showPlan();
  await followSave();
}

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const prompt = element("prompt").value.trim();
  if (!prompt || !state) return;
  asked = prompt;
  answer(edit() ? SIDES : ["base"]);
});
element("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    element("ask").requestSubmit();
  }
});
element("stop").addEventListener("click", stop);
element("strength").addEventListener("input", () => setAll(element("strength").value));
element("plan").addEventListener("change", () => { showPlan(); if (asked !== null) answer(["pruned"]); });
element("run").addEventListener("click", run);
element("examples").addEventListener("click", () => {
  element("harmless").value = [element("harmless").value.trimEnd(), ...state.examples].filter(Boolean).join("\n");
});
element("save").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    problem(null);
    await ask("api/save", { name: element("name").value, ...settings() });
    await followSave();
  } catch (error) {
    problem(error);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
  if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    element("prompt").focus();
  }
  const step = { "[": -0.05, "]": 0.05 }[event.key];
  if (step && edit()) setAll(Number(element("strength").value) + step);
});
start().catch(problem);
