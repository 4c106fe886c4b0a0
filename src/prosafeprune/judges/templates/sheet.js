"use strict";
const cell = (text) => {
  const guarded = /^[=+\-@\t\r']/.test(text) ? "'" + text : text;
  return '"' + guarded.replaceAll('"', '""') + '"';
};
document.querySelector("button").addEventListener("click", (event) => {
  const lines = ["prompt,completion,label"];
  for (const article of document.querySelectorAll("article")) {
    const field = (name) => article.querySelector(`[data-field=${name}]`).dataset.text;
    const chosen = article.querySelector("input:checked");
    lines.push([field("prompt"), field("completion"), chosen ? chosen.value : ""].map(cell).join(","));
  }
  const link = document.createElement("a");
  link.href = "data:text/csv;charset=utf-8," + encodeURIComponent("\ufeff" + lines.join("\n") + "\n");
  link.download = event.target.textContent.split(" ").pop();
  link.click();
});
