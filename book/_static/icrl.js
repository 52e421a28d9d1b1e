/* What the book's pages do by themselves: a link lands where it should although formulas are set late, long
   formulas show that they go on, players start at their last picture, tables of claims can be filtered. Every
   page can be read without it. */
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // A formula above the target that is set while the page scrolls moves the target: scroll again afterwards.
  let journey = 0;
  const stop = () => journey++;
  for (const event of ["wheel", "touchstart", "keydown", "mousedown"]) addEventListener(event, stop, { passive: true });

  function unfold(target) {
    for (let box = target; box; box = box.parentElement) {
      if (box.tagName === "DETAILS") box.open = true;
      if (box !== target && box.classList.contains("toggle-hidden")) box.querySelector(".toggle-button")?.click();
    }
  }

  function land(target) {
    const mine = ++journey;
    const until = performance.now() + 2500;
    unfold(target);
    const again = () => {
      if (mine !== journey) return;
      target.scrollIntoView({ behavior: "instant", block: "start" });
      if (performance.now() < until) setTimeout(again, 60);
    };
    let begun = false;
    const begin = () => { if (!begun) { begun = true; again(); } };
    addEventListener("scrollend", begin, { once: true });
    setTimeout(begin, 900); // nothing had to scroll, or the browser does not say when it has
  }

  const named = hash => hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));

  addEventListener("click", event => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey) return;
    if (link.origin !== location.origin || link.pathname !== location.pathname) return;
    const target = named(link.hash);
    if (target) land(target);
  });
  addEventListener("hashchange", () => { const target = named(location.hash); if (target) land(target); });

  function arrive() {
    const target = named(location.hash);
    if (!target) return;
    const ready = window.MathJax?.startup?.promise ?? Promise.resolve();
    ready.then(() => { land(target); target.scrollIntoView({ behavior: "instant" }); });
  }

  // What is wider than its line can be scrolled, with the keyboard too, and says so.
  const WIDE = ["mjx-container[display=true]", "pre", "table", ".animation", "figure:not(.explorable):has(> img)",
    "span.math"].map(what => `.bd-article ${what}`).join();
  // A formula in its line scrolls on narrow screens only, and is as wide as what is seen of it.
  function inner(box) {
    if (!box.matches("span.math")) return box.scrollWidth;
    const seen = getComputedStyle(box).overflowX === "auto" && box.querySelector("mjx-math");
    return seen ? seen.offsetWidth : 0;
  }
  function measure(box) {
    const more = inner(box) - box.clientWidth;
    box.classList.toggle("goes-on", more > 2 && box.scrollLeft < more - 2);
    if (more > 2 && !box.hasAttribute("tabindex")) {
      box.tabIndex = 0;
      box.addEventListener("scroll", () => measure(box), { passive: true });
    }
  }
  const sizes = new ResizeObserver(entries => entries.forEach(entry => measure(entry.target)));
  const watch = root => all(WIDE, root).forEach(box => {
    if (!box.dataset.watched) { box.dataset.watched = "yes"; sizes.observe(box); }
  });

  // Who prints does not wait for the letters of formulas that were never scrolled to.
  const letters = () => document.fonts.forEach(font => { if (/^"?MJXTEX(-[ABCI]|-S\d)?"?$/.test(font.family)) font.load(); });
  addEventListener("load", () => window.MathJax?.startup?.promise?.then(() => setTimeout(letters, 500)));

  // A player opens at its last picture: the first one is often empty. Playing from the end starts again.
  function players() {
    all(".animation").forEach(player => {
      const slider = player.querySelector("input[type=range]");
      const to = frame => { slider.value = frame; slider.dispatchEvent(new Event("input")); slider.oninput?.(); };
      const begin = () => to(slider.max);
      setTimeout(begin, 50);
      const play = all("button", player).find(button => /^Play$/.test(button.title));
      play?.addEventListener("click", () => { if (slider.value === slider.max) to(slider.min || 0); }, true);
    });
  }

  // A table with a column of verdicts: menus from what occurs in some of its columns, and a field for words.
  const MENUS = ["chapter", "kind", "verdict", "margin"];
  function filters() {
    for (const table of all(".bd-article table.filtered")) {
      const heads = all("thead th", table).map(head => head.textContent.trim());
      const rows = all("tbody tr", table);
      const text = (row, column) => row.cells[column].textContent.trim();
      const form = document.createElement("form");
      const left = document.createElement("output");
      const tests = new Map();
      const apply = () => {
        for (const row of rows) row.hidden = ![...tests.values()].every(test => test(row));
        left.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
      };
      const field = (title, element, test) => {
        const label = document.createElement("label");
        label.append(title, element);
        element.addEventListener("input", apply);
        tests.set(title, row => !element.value || test(row, element.value));
        form.append(label);
      };
      for (const title of MENUS.filter(name => heads.includes(name))) {
        const column = heads.indexOf(title);
        const values = [...new Set(rows.map(row => text(row, column)))];
        if (title === "margin") values.sort((a, b) => (parseFloat(a.slice(2)) || 0) - (parseFloat(b.slice(2)) || 0));
        const menu = document.createElement("select");
        menu.append(new Option("all", ""), ...values.map(value => new Option(value, value)));
        field(title, menu, (row, value) => text(row, column) === value);
      }
      const words = document.createElement("input");
      words.type = "search";
      field("words", words, (row, value) => row.textContent.toLowerCase().includes(value.toLowerCase()));
      form.className = "filters";
      form.addEventListener("submit", event => event.preventDefault());
      form.append(left);
      (table.closest(".pst-scrollable-table-container") ?? table).before(form);
      apply();
    }
  }

  // The theme's script writes these without a name of their own, or with one that hides what they say.
  function names() {
    all(".toggle-button").forEach(button => {
      const title = button.closest(".admonition-title")?.textContent.trim();
      if (title) button.setAttribute("aria-label", `${title}: show or hide`);
    });
    all("summary[aria-label]").forEach(summary => summary.removeAttribute("aria-label"));
  }

  function start() {
    watch(document);
    new MutationObserver(() => watch(document)).observe(document.body, { childList: true, subtree: true });
    players();
    filters();
    setTimeout(names, 0);
    arrive();
  }
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
