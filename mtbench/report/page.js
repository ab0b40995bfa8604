"use strict";
// Sorting: missing values stay last in both directions.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const text = head.dataset.kind === "text";
    const first = text ? "ascending" : "descending";
    const other = text ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    heads.forEach(h => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = row => text ? row.cells[column].textContent : parseFloat(row.cells[column].dataset.value);
    const rows = [...body.rows].sort((a, b) => {
      const x = key(a), y = key(b);
      if (text) return sign * x.localeCompare(y);
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return sign * (x - y);
    });
    body.append(...rows);
  }));
}
// Seeds on hover, on focus and on touch.
const tip = document.getElementById("tip");
function show(target, x, y) {
  tip.textContent = target.dataset.tip;
  tip.style.display = "block";
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - box.width - 4)) + "px";
  tip.style.top = (y + 16 + box.height > innerHeight ? y - box.height - 8 : y + 16) + "px";
}
const holder = event => event.target.closest ? event.target.closest("[data-tip]") : null;
document.addEventListener("pointermove", event => {
  const target = holder(event);
  if (target) show(target, event.clientX, event.clientY); else tip.style.display = "none";
});
document.addEventListener("pointerdown", event => {
  const target = holder(event);
  if (target) show(target, event.clientX, event.clientY); else tip.style.display = "none";
});
document.addEventListener("focusin", event => {
  const target = holder(event);
  if (!target) return;
  const box = target.getBoundingClientRect();
  show(target, box.left, box.bottom - 12);
});
document.addEventListener("focusout", () => { tip.style.display = "none"; });
