// Open the folded section that a link leads into, and all of them for print.
(() => {
  const folded = () => document.querySelectorAll("details.further");
  const show = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    // A label stands as an empty element at the head of its section, outside the box.
    const boxes = [target.closest("details.further"), target.closest("section")?.querySelector(":scope > details.further")];
    const closed = boxes.filter((box) => box && !box.open);
    closed.forEach((box) => (box.open = true));
    if (closed.length) target.scrollIntoView();
  };
  document.addEventListener("DOMContentLoaded", show);
  window.addEventListener("hashchange", show);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href*='#']");
    if (link && link.hash === location.hash) setTimeout(show);
  });
  let shut = [];
  window.addEventListener("beforeprint", () => {
    shut = [...folded()].filter((box) => !box.open);
    shut.forEach((box) => (box.open = true));
  });
  window.addEventListener("afterprint", () => shut.forEach((box) => (box.open = false)));
})();
