// The comparison: two pictures on top of each other, a native range that divides them, zoom and pan down to pixels.
// Positions are CSS pixels of the viewport; `scale` is CSS pixels for one pixel of the result.

import { t } from "./strings.js";

const MOST_ZOOM = 32;
// Memory for the bicubic picture: four bytes for each of its pixels, some times over.
const BICUBIC_PIXELS = 40e6;

const root = document.getElementById("viewport");
const slider = document.getElementById("slider");
const after = root.querySelector(".after");
const before = root.querySelector(".before");
const divider = root.querySelector(".divider");
const [tagBefore, tagAfter] = [root.querySelector(".tag-before"), root.querySelector(".tag-after")];
const zoomValue = document.getElementById("zoom-value");

let picture = null; // { width, height, original, moves }
let mode = "bicubic";
let view = { x: 0, y: 0, scale: 1, isFit: true };
let worker = null;
let computed = null; // the canvas of bicubic, for `picture`
let announce = () => {};

const dpr = () => window.devicePixelRatio || 1;
const size = () => ({ width: root.clientWidth, height: root.clientHeight });

function fitScale() {
  const { width, height } = size();
  return Math.min(width / picture.width, height / picture.height, 8 / dpr()) || 1;
}

const leastScale = () => Math.min(fitScale(), 1 / dpr());

function clamp() {
  const box = size();
  for (const [axis, side] of [["x", "width"], ["y", "height"]]) {
    const free = box[side] - picture[side] * view.scale;
    view[axis] = free >= 0 ? free / 2 : Math.min(0, Math.max(free, view[axis]));
    // Between two pixels of the screen nothing is sharp.
    view[axis] = Math.round(view[axis] * dpr()) / dpr();
  }
}

function place() {
  if (!picture) return;
  if (view.isFit) view.scale = fitScale();
  clamp();
  const pixels = view.scale * dpr();
  for (const one of [...after.children, ...before.children]) {
    one.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    // Past two to one, and at exactly one to one, pixels are shown as they are.
    one.classList.toggle("as-pixels", pixels >= 2 || Math.abs(pixels - 1) < 1e-6 || one.dataset.kind === "pixels");
  }
  root.classList.toggle("can-pan", picture.width * view.scale > size().width + 1 || picture.height * view.scale > size().height + 1);
  zoomValue.textContent = `${Math.round(pixels * 100)}%`;
  lay();
  divide();
}

// The part of the viewport that the picture covers: the divider stays on it.
function covered() {
  const { width, height } = size();
  const [left, top] = [Math.max(0, view.x), Math.max(0, view.y)];
  const right = Math.min(width, view.x + picture.width * view.scale);
  const bottom = Math.min(height, view.y + picture.height * view.scale);
  return { left, top, right, bottom, width: right - left, height: bottom - top };
}

const THUMB = 48; // as style.css has it

function lay() {
  const { left, top, right, bottom, width, height } = covered();
  const box = size();
  Object.assign(slider.style, { left: `${left - THUMB / 2}px`, width: `${width + THUMB}px`, top: `${top}px`, height: `${height}px` });
  Object.assign(divider.style, { top: `${top}px`, height: `${height}px` });
  Object.assign(tagBefore.style, { left: `${left + 12}px`, bottom: `${box.height - bottom + 12}px` });
  Object.assign(tagAfter.style, { right: `${box.width - right + 12}px`, bottom: `${box.height - bottom + 12}px` });
}

function divide() {
  if (!picture) return;
  const area = covered();
  const share = mode === "edsr" || !before.children.length ? 0 : Number(slider.value) / 100;
  const x = area.left + share * area.width;
  before.style.clipPath = `inset(0 ${size().width - x}px 0 0)`;
  divider.style.transform = `translateX(${x}px)`;
  // A name that the divider has passed says the wrong thing.
  tagBefore.style.opacity = share * area.width > tagBefore.offsetWidth + 24 ? 1 : 0;
  tagAfter.style.opacity = (1 - share) * area.width > tagAfter.offsetWidth + 24 ? 1 : 0;
  slider.setAttribute("aria-valuetext", t("sliderValue", { before: tagBefore.textContent, share: Math.round(share * 100) }));
}

function zoomTo(scale, x = size().width / 2, y = size().height / 2) {
  const to = Math.min(MOST_ZOOM / dpr(), Math.max(leastScale(), scale));
  view.x = x - ((x - view.x) * to) / view.scale;
  view.y = y - ((y - view.y) * to) / view.scale;
  view.scale = to;
  view.isFit = Math.abs(to - fitScale()) < 1e-6;
  place();
}

export function zoom(how, x, y) {
  if (!picture) return;
  if (how === "fit") {
    view.isFit = true;
    place();
  } else if (how === "one") zoomTo(1 / dpr(), x, y);
  else zoomTo(view.scale * (how === "in" ? 1.5 : 1 / 1.5), x, y);
}

function pan(dx, dy) {
  view.x += dx;
  view.y += dy;
  place();
}

function sized(element) {
  element.style.width = `${picture.width}px`;
  element.style.height = `${picture.height}px`;
  return element;
}

// The left side: what EDSR is compared with.
function drawBefore() {
  const { original } = picture;
  before.replaceChildren();
  root.classList.toggle("is-single", !original || mode === "edsr");
  slider.hidden = !original || mode === "edsr";
  tagBefore.hidden = slider.hidden;
  if (original && mode !== "edsr") {
    const isBicubic = mode === "bicubic" && computed;
    const element = isBicubic ? computed : new Image();
    if (!isBicubic) {
      element.src = original.url;
      element.alt = "";
    }
    element.dataset.kind = mode === "pixels" ? "pixels" : "smooth";
    before.append(sized(element));
    const name = { pixels: "pixels", bicubic: computed ? "bicubic" : picture.falls ? "smoothed" : "computing" }[mode];
    tagBefore.textContent = t(name);
    tagBefore.title = mode === "bicubic" && computed ? t("bicubicHow") : "";
    if (mode === "bicubic" && !computed && !picture.falls) compute();
  }
  tagAfter.textContent = t("edsr");
  place();
}

function compute() {
  if (worker) return;
  const mine = picture;
  const fallBack = () => {
    if (picture !== mine) return;
    mine.falls = "tooLargeForBicubic";
    drawBefore();
    announce();
  };
  worker = new Worker(new URL("bicubic-worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => {
    stopWorker();
    if (!data.bitmap) return fallBack();
    computed = document.createElement("canvas");
    [computed.width, computed.height] = [data.bitmap.width, data.bitmap.height];
    computed.getContext("bitmaprenderer").transferFromImageBitmap(data.bitmap);
    drawBefore();
  };
  worker.onerror = () => {
    stopWorker();
    fallBack();
  };
  worker.postMessage({ id: 0, file: mine.original.file, width: mine.width, height: mine.height });
}

function stopWorker() {
  worker?.terminate();
  worker = null;
}

// Shows a result: `image` is loaded, `original` is { url, file, width, height } or null. Answers nothing.
export function show(image, original, { moves, name, changed }) {
  clear();
  announce = changed;
  picture = { width: image.naturalWidth, height: image.naturalHeight, original, falls: "" };
  if (moves) picture.falls = "movingForBicubic";
  else if (picture.width * picture.height > BICUBIC_PIXELS) picture.falls = "tooLargeForBicubic";
  image.alt = name;
  image.draggable = false;
  after.replaceChildren(sized(image));
  view = { x: 0, y: 0, scale: 1, isFit: true };
  slider.value = 50;
  drawBefore();
}

export function clear() {
  stopWorker();
  computed = picture = null;
  zoomValue.textContent = "";
  after.replaceChildren();
  before.replaceChildren();
}

export function compareWith(what) {
  mode = what;
  if (picture) drawBefore();
}

// Why bicubic is not what is shown, as a key of strings.js; "" if it is.
export const fallback = () => (picture && mode === "bicubic" && picture.original ? picture.falls : "");

export function redraw() {
  if (picture) drawBefore();
}

slider.addEventListener("input", () => {
  // A finger that pinches may stand on the divider.
  if (pointers.size > 1) slider.value = pinchedAt;
  divide();
});
new ResizeObserver(place).observe(root);

root.addEventListener("wheel", (event) => {
  if (!picture) return;
  event.preventDefault();
  const box = root.getBoundingClientRect();
  const lines = event.deltaMode === 1 ? 16 : 1;
  const factor = Math.exp(-Math.max(-60, Math.min(60, event.deltaY * lines)) / 200);
  zoomTo(view.scale * factor, event.clientX - box.left, event.clientY - box.top);
}, { passive: false });

root.addEventListener("dblclick", (event) => {
  if (!picture) return;
  const box = root.getBoundingClientRect();
  const at = [event.clientX - box.left, event.clientY - box.top];
  if (view.isFit) zoomTo(Math.max(1 / dpr(), 2 * view.scale), ...at);
  else zoom("fit");
});

root.addEventListener("keydown", (event) => {
  if (!picture || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
  const how = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "one" }[event.key];
  if (how) zoom(how);
  else if (step && event.target === root) pan(...step);
  else return;
  event.preventDefault();
});

// One finger or the mouse moves the picture, or the divider where there is nothing to move; two fingers zoom.
const pointers = new Map();
let pinchedAt = 50;

root.addEventListener("pointerdown", (event) => {
  if (!picture || event.button > 0) return;
  pinchedAt = slider.value;
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  if (event.target === slider) return; // it moves by itself
  root.setPointerCapture(event.pointerId);
  // A finger that comes down may be about to scroll or to pinch.
  if (event.pointerType !== "touch") dragDivider(event);
});

function dragDivider(event) {
  if (pointers.size !== 1 || root.classList.contains("can-pan") || slider.hidden) return;
  const { left, width } = covered();
  slider.value = ((event.clientX - root.getBoundingClientRect().left - left) / width) * 100;
  divide();
}

root.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  const now = [event.clientX, event.clientY];
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  pointers.set(event.pointerId, now);
  if (other) {
    const box = root.getBoundingClientRect();
    const distance = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
    pan((now[0] - last[0]) / 2, (now[1] - last[1]) / 2);
    const middle = [(now[0] + other[0]) / 2 - box.left, (now[1] + other[1]) / 2 - box.top];
    zoomTo((view.scale * distance(now)) / distance(last), ...middle);
  } else if (event.target === slider) return;
  else if (root.classList.contains("can-pan")) pan(now[0] - last[0], now[1] - last[1]);
  else dragDivider(event);
});

for (const kind of ["pointerup", "pointercancel"]) {
  root.addEventListener(kind, (event) => pointers.delete(event.pointerId));
}
