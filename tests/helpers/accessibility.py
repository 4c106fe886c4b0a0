"""What a page makes hard for readers with a keyboard, a screen reader or weak eyes."""

from __future__ import annotations

import json
from importlib import resources

from helpers.browser import Browser

CONTRAST = """
    (() => {
      const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
      const parse = text => text.match(/[\\d.]+/g).map(Number);
      const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
      const back = element => {
        for (let e = element; e; e = e.parentElement) {
          const colour = parse(getComputedStyle(e).backgroundColor);
          if (colour.length < 4 || colour[3] > 0) return colour;
        }
      };
      const worst = [];
      for (const e of document.querySelectorAll('body *')) {
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
        const pair = [light(parse(getComputedStyle(e).color)), light(back(e))].sort((a, b) => b - a);
        const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
        if (ratio < 4.5) worst.push([e.tagName, e.className, ratio]);
      }
      return worst;
    })()
"""
"""Text with too little contrast to what is behind it."""


def axe_faults(browser: Browser) -> list[tuple[str, str, list[str]]]:
    """Return the faults that axe-core finds in the open page: rule, severity, and the elements."""
    axe = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    browser.command("Runtime.evaluate", expression=axe)
    run = "axe.run({resultTypes: ['violations']}).then(found => JSON.stringify(found.violations))"
    found = browser.command("Runtime.evaluate", expression=run, awaitPromise=True, returnByValue=True)
    violations = json.loads(found["result"]["value"])
    return [(one["id"], one["impact"], [node["html"][:200] for node in one["nodes"]]) for one in violations]
