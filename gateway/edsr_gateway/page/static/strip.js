// The row of pictures: a thumbnail each, how it is, and a way to remove it.

import { ACTIVE } from "./item.js";
import { t } from "./strings.js";

const list = document.getElementById("strip");
const drawn = new Map(); // item -> its parts
let act = { select: () => {}, discard: () => {} };

export const on = (actions) => (act = actions);

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function parts(item) {
  const known = drawn.get(item);
  if (known) return known;
  const picture = element("span", { className: "thumb", textContent: item.kind.slice(0, 4) });
  const bar = element("span", { className: "thumb-bar" });
  const badge = element("span", { className: "badge" });
  const state = element("span", { className: "hidden-visually" });
  for (const one of [picture, bar, badge]) one.setAttribute("aria-hidden", "true");
  const name = element("span", { className: "hidden-visually", textContent: item.name });
  const open = element("button", { type: "button", className: "open", title: item.name }, picture, bar, badge, name, state);
  const close = element("button", { type: "button", className: "close", textContent: "×" });
  open.addEventListener("click", () => act.select(item));
  close.addEventListener("click", () => act.discard(item));
  const made = { row: element("li", { className: "piece" }, open, close), picture, bar, badge, state, open, close };
  drawn.set(item, made);
  thumbnail(item, picture);
  return made;
}

async function thumbnail(item, place) {
  if (!item.file || item.isVideo) return;
  try {
    const bitmap = await createImageBitmap(item.file, { resizeHeight: 128, resizeQuality: "medium" });
    const canvas = element("canvas", { width: bitmap.width, height: bitmap.height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    place.replaceChildren(canvas);
  } catch {
    // The letters of its kind stay.
  }
}

function stateOf({ phase }) {
  if (ACTIVE.includes(phase)) return "Active";
  return { waiting: "Waiting", done: "Done", failed: "Failed", cancelled: "Cancelled", locked: "Locked" }[phase];
}

export function update(item, isSelected) {
  const { row, bar, badge, state, open, close } = parts(item);
  const named = stateOf(item);
  const { done, total } = item.progress;
  row.dataset.state = named.toLowerCase();
  bar.style.transform = `scaleX(${named === "Active" && total ? done / total : 0})`;
  badge.textContent = { Failed: "!", Cancelled: "–" }[named] || "";
  const said = `, ${t(`state${named}`)}`;
  if (state.textContent !== said) state.textContent = said;
  if (isSelected) open.setAttribute("aria-current", "true");
  else open.removeAttribute("aria-current");
  close.setAttribute("aria-label", t("removeNamed", { name: item.name }));
}

export function draw(items, selected) {
  for (const item of drawn.keys()) if (!items.includes(item)) drawn.delete(item);
  const rows = items.map((item) => parts(item).row);
  // Rows that stay are not moved: they would lose the focus.
  if (rows.length !== list.children.length || rows.some((row, at) => row !== list.children[at])) {
    const focused = document.activeElement;
    list.replaceChildren(...rows);
    if (list.contains(focused)) focused.focus();
  }
  for (const item of items) update(item, item === selected);
  list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}
