// The page: puts items, viewer, options and words together.

import * as api from "./api.js";
import { words } from "./errors.js";
import { bytes, duration, number, resultName, seconds } from "./format.js";
import { ACTIVE, Item } from "./item.js";
import { forgetExpired, keptFile, savedJobs, saveJobs } from "./keep.js";
import { drawOptions, offer, requestFields } from "./options.js";
import { speak, t } from "./strings.js";
import * as strip from "./strip.js";
import * as viewer from "./viewer.js";
import { zip } from "./zip.js";

const AT_A_TIME = 2;
// What is larger is not decoded in the page: four bytes a pixel, twice.
const SHOWN_PIXELS = 150e6;

const $ = (id) => document.getElementById(id);
const items = [];
let selected = null;
let isLocked = false;
let information = { models: [], formats: { in: [], out: [] }, limits: {}, ready: true, keys: false };
let shownBlob = null;

function say(key, values) {
  $("live").textContent = t(key, values);
}

// --- Items ---------------------------------------------------------------------------------------------------------

function add(files) {
  const fields = requestFields();
  const added = [...files].map((file) => new Item({ file, name: file.name, fields }, changed));
  if (!added.length) return;
  items.push(...added);
  added.forEach((item) => refuseEarly(item));
  select(added[0]);
  next();
}

// What the server would refuse after minutes of uploading.
function refuseEarly(item) {
  const { upload_bytes: picture, video_bytes: video } = information.limits;
  const limit = item.isVideo ? video : picture;
  if (!(item.file.size > limit)) return;
  item.problem = new api.Problem(413, { limit_bytes: limit, got_bytes: item.file.size });
  item.phase = "failed";
}

function next() {
  save();
  if (isLocked) return;
  const active = items.filter((item) => ACTIVE.includes(item.phase)).length;
  const waiting = items.filter((item) => item.phase === "waiting");
  for (const item of waiting.slice(0, Math.max(0, AT_A_TIME - active))) {
    item.phase = "queued";
    item.run();
  }
}

function save() {
  saveJobs(items.filter((item) => item.job).map(({ job, name, fields, madeAsPng }) => ({ job, name, fields, madeAsPng })));
}

function changed(item) {
  if (!items.includes(item)) return;
  tell(item);
  if (item.phase === "locked") lock(Boolean(api.key.get()));
  if (item.phase === "held" && !item.isHurried) makeRoom(item);
  strip.update(item, item === selected);
  if (item === selected) draw();
  drawAll();
  if (!ACTIVE.includes(item.phase) || item.phase === "queued") next();
}

// The server keeps a bounded number of results of ours; one that is here already can go there.
async function makeRoom(item) {
  const oldest = /^job/.test(item.fullOf) && items.find((one) => one.phase === "done" && one.job);
  if (!oldest) return;
  await oldest.forget();
  item.hurry();
}

// For those who listen: the steps, not every percent.
function tell(item) {
  if (item.told === item.phase) return;
  item.told = item.phase;
  const { name } = item;
  if (item.phase === "uploading") say("saysUploading", { name });
  else if (item.phase === "working") say("saysWorking", { name });
  else if (item.phase === "done") say("saysDone", { name, width: item.result.width, height: item.result.height });
  else if (item.phase === "cancelled") say("saysCancelled", { name });
  else if (item.phase === "held") say("saysHeld", { name, seconds: item.progress.left });
  else if (item.phase === "failed") say("saysFailed", { name, title: words(item.problem).title });
}

function select(item) {
  selected = item;
  document.body.classList.toggle("has-items", Boolean(item));
  strip.draw(items, selected);
  draw();
  drawAll();
}

async function discard(item) {
  const at = items.indexOf(item);
  if (at < 0) return;
  items.splice(at, 1);
  item.cancel();
  item.shown?.then((original) => original && URL.revokeObjectURL(original.url));
  say("saysRemoved", { name: item.name });
  if (item === selected) select(items[Math.min(at, items.length - 1)] || null);
  else strip.draw(items, selected);
  drawAll();
  next();
  (selected ? $("strip").querySelector("[aria-current=true]") : $("choose"))?.focus();
}

// --- The stage -----------------------------------------------------------------------------------------------------

function panel() {
  if (isLocked && (!selected || !["done", "failed", "cancelled"].includes(selected.phase))) return "locked";
  if (!selected) return "empty";
  if (["failed", "cancelled"].includes(selected.phase)) return "trouble";
  return selected.phase === "done" ? "done" : "working";
}

function draw() {
  const shown = panel();
  const had = document.activeElement?.closest?.(".panel");
  for (const id of ["empty", "working", "trouble", "locked", "done"]) $(id).hidden = id !== shown;
  $("bench").hidden = !selected;
  $("bench").classList.toggle("is-done", shown === "done");
  $("again").hidden = !selected?.file || shown === "locked" || ACTIVE.includes(selected.phase);
  if (shown !== "done" && shownBlob) clearResult();
  if (shown === "working") drawWorking();
  else if (shown === "trouble") drawTrouble();
  else if (shown === "done") drawDone();
  if (shown !== "done") drawFacts();
  // Whoever works by keyboard is not thrown back to the top when a panel goes.
  if (had?.hidden) $({ working: "cancel", trouble: "retry", locked: "key", done: "slider", empty: "choose" }[shown])?.focus();
}

function phaseDetail({ done, total, unit }) {
  if (unit === "bytes") return total ? t("bytesOf", { done: bytes(done), total: bytes(total) }) : "";
  if (unit === "frames") return total ? t("frames", { done: number(done), total: number(total) }) : t("framesOnly", { done: number(done) });
  return unit === "tiles" && total ? t("tiles", { done: number(Math.min(done + 1, total)), total: number(total) }) : "";
}

function drawWorking() {
  const { phase, progress } = selected;
  const key = phase === "offline" ? "lost" : phase;
  $("phase").textContent = t(key, { seconds: progress.left });
  $("phase-detail").textContent = ["waiting", "queued", "held", "offline"].includes(phase) ? "" : phaseDetail(progress);
  const share = progress.total ? progress.done / progress.total : null;
  if (share === null || ["waiting", "queued", "held", "offline"].includes(phase)) $("progress").removeAttribute("value");
  else $("progress").value = share;
  drawPreview(selected);
}

async function drawPreview(item) {
  const original = await item.original();
  if (item !== selected) return;
  $("preview").hidden = !original;
  if (original && $("preview").src !== original.url) $("preview").src = original.url;
}

function drawTrouble() {
  const isCancelled = selected.phase === "cancelled";
  const { title, advice, detail } = isCancelled
    ? { title: t("cancelledTitle"), advice: t("cancelledAdvice"), detail: "" }
    : words(selected.problem);
  $("trouble-title").textContent = title;
  $("trouble-advice").textContent = advice;
  $("trouble-detail").textContent = detail;
  $("retry").hidden = !selected.file && !selected.result;
}

async function drawDone() {
  const item = selected;
  drawFacts();
  if (shownBlob === item.blob) return;
  clearResult();
  shownBlob = item.blob;
  const url = URL.createObjectURL(item.blob);
  item.blobUrl = url;
  if (item.isVideo || item.blob.type.startsWith("video/")) return showVideo(item, url);
  const image = new Image();
  image.src = url;
  const isLarge = item.result.width * item.result.height > SHOWN_PIXELS;
  const isShown = !isLarge && (await image.decode().then(() => true, () => false));
  if (shownBlob !== item.blob) return;
  if (!isShown) return showUnseen(item, isLarge);
  const original = await item.original();
  if (shownBlob !== item.blob) return;
  const moves = item.result.frames > 1 || item.kind === "GIF";
  $("viewport").hidden = false;
  viewer.show(image, original, { moves, name: resultName(item.name, item.result, information.formats.out), changed: drawFacts });
  drawTools(true, Boolean(original));
  drawFacts();
}

function drawTools(canZoom, canCompare) {
  $("zoom").classList.toggle("is-off", !canZoom);
  $("compare").disabled = !canCompare;
  for (const button of $("zoom").querySelectorAll("button")) button.disabled = !canZoom;
}

function clearResult() {
  viewer.clear();
  for (const id of ["viewport", "video", "unseen"]) $(id).hidden = true;
  $("video").removeAttribute("src");
  const old = items.find((item) => item.blob === shownBlob);
  if (old?.blobUrl) URL.revokeObjectURL(old.blobUrl);
  shownBlob = null;
  drawTools(false, false);
}

function showVideo(item, url) {
  $("video").hidden = false;
  $("video").onerror = () => {
    $("video").hidden = true;
    showUnseen(item, false);
  };
  $("video").src = url;
}

function showUnseen(item, isLarge) {
  $("unseen").hidden = false;
  $("unseen-title").textContent = t("unseenTitle");
  const kind = item.result.format.toUpperCase();
  $("unseen-why").textContent = isLarge ? t("unseenLarge") : t("unseenKind", { kind });
}

function drawFacts() {
  const { result, phase } = selected || {};
  if (phase !== "done") {
    $("facts").textContent = selected ? selected.name : "";
    $("notes").replaceChildren();
    return;
  }
  const sizes = {
    ...{ width: result.width, height: result.height, lrWidth: result.lr_width, lrHeight: result.lr_height },
  };
  const facts = [
    selected.name,
    t("factSizes", sizes),
    `${result.format.toUpperCase().replace("WEBP", "WebP")}, ${bytes(result.bytes)}`,
    t("factTime", { seconds: seconds(result.seconds) }),
    `${result.model}${result.precision ? ` (${result.precision})` : ""}`,
  ];
  $("facts").replaceChildren(...facts.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
  const { kind } = selected;
  const ours = [
    selected.madeAsPng && t("madeAsPng", { kind }),
    !selected.isVideo && !selected.file && t("originalGone"),
    !$("viewport").hidden && selected.file && $("compare").disabled && !selected.isVideo && t("originalUnseen", { kind }),
    !$("viewport").hidden && viewer.fallback() && t(viewer.fallback()),
  ].filter(Boolean);
  const line = (text, lang) => Object.assign(document.createElement("li"), { textContent: text, lang });
  $("notes").replaceChildren(
    ...ours.map((text) => line(text, "")),
    ...(result.notes || []).map((text) => line(text, "en")),
  );
  for (const one of $("notes").querySelectorAll('[lang=""]')) one.removeAttribute("lang");
}

function drawAll() {
  const ready = items.filter((item) => item.phase === "done").length;
  $("download-all").hidden = ready < 2;
  $("download").disabled = selected?.phase !== "done";
}

// --- Saving --------------------------------------------------------------------------------------------------------

function saveBlob(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser has to have begun; nothing tells when.
  setTimeout(() => URL.revokeObjectURL(link.href), 60e3);
}

const named = (item) => resultName(item.name, item.result, [...information.formats.out, ...videoFormats()]);
const videoFormats = () => (information.formats.video_out || []).map((name) => (name.name ? name : { name, extension: name }));

async function saveAll() {
  const ready = items.filter((item) => item.phase === "done");
  const total = ready.reduce((sum, item) => sum + item.blob.size, 0);
  let read = 0;
  const button = $("download-all");
  button.disabled = true;
  try {
    const archive = await zip(ready.map((item) => ({ name: named(item), blob: item.blob })), (count) => {
      read += count;
      button.textContent = t("packing", { percent: Math.floor((read / Math.max(1, total)) * 100) });
    });
    saveBlob(archive, "edsr.zip");
  } catch {
    say("errorZip");
  }
  button.disabled = false;
  button.textContent = t("downloadAll");
}

// --- The key -------------------------------------------------------------------------------------------------------

function lock(wasRefused) {
  if (isLocked) return;
  isLocked = true;
  api.key.set("");
  $("key-wrong").textContent = wasRefused ? t("keyWrong") : "";
  for (const item of items) if (item.phase === "locked") item.phase = "waiting";
  draw();
  $("key").focus();
}

async function unlock(key) {
  api.key.set(key);
  if (!(await learn())) return;
  isLocked = false;
  $("key").value = "";
  for (const item of items) if (item.phase === "locked") item.phase = "waiting";
  draw();
  next();
}

// What the server can do. Answers whether it told.
async function learn() {
  try {
    information = { ...information, ...(await api.info()) };
  } catch (error) {
    if (error.status === 401) {
      isLocked = false;
      lock(Boolean(api.key.get()));
    }
    // All else shows when a picture is sent; without knowing better the options are the defaults.
    return false;
  }
  offer(information);
  drawKeeping();
  return true;
}

function drawKeeping() {
  $("keeping").textContent = t("keeping", { time: duration(information.limits.job_expiry_s || 86400) });
}

// --- What people do ------------------------------------------------------------------------------------------------

async function dropped(transfer) {
  // Entries must be taken before the event ends; folders are opened.
  const entries = [...transfer.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
  const files = entries.length ? (await Promise.all(entries.map(filesOf))).flat() : [...transfer.files];
  if (files.length) add(files);
  else say("nothingDropped");
}

async function filesOf(entry) {
  if (entry.isFile) return new Promise((resolve) => entry.file((file) => resolve([file]), () => resolve([])));
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) return (await Promise.all(found.filter((one) => !one.name.startsWith(".")).map(filesOf))).flat();
    found.push(...some);
  }
}

let depth = 0;
const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
const hint = (change) => {
  depth = change === 0 ? 0 : Math.max(0, depth + change);
  document.body.classList.toggle("is-dropping", depth > 0);
};
document.addEventListener("dragenter", (event) => hasFiles(event) && hint(1));
document.addEventListener("dragleave", (event) => hasFiles(event) && hint(-1));
document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  hint(0);
  dropped(event.dataTransfer);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) add(event.clipboardData.files);
});

for (const id of ["choose", "add"]) $(id).addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => {
  add($("files").files);
  $("files").value = "";
});
$("sample").addEventListener("click", async () => {
  const picture = await (await fetch($("sample").querySelector("img").src)).blob();
  add([new File([picture], "sample.png", { type: picture.type })]);
});
$("cancel").addEventListener("click", () => selected.cancel());
$("retry").addEventListener("click", () => selected.again());
$("again").addEventListener("click", () => selected.again(requestFields()));
$("discard").addEventListener("click", () => discard(selected));
$("download").addEventListener("click", () => saveBlob(selected.blob, named(selected)));
$("download-all").addEventListener("click", saveAll);
$("locked").addEventListener("submit", (event) => {
  event.preventDefault();
  unlock($("key").value.trim());
});
$("compare").addEventListener("change", (event) => {
  viewer.compareWith(event.target.value);
  drawFacts();
  try {
    localStorage.setItem("edsr-compare", event.target.value);
  } catch {
    // Bicubic again next time.
  }
});
for (const button of document.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => viewer.zoom(button.dataset.zoom));
}
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    speak(button.dataset.language);
    drawOptions();
    drawKeeping();
    viewer.redraw();
    select(selected);
  });
}
strip.on({ select, discard });
window.addEventListener("beforeunload", (event) => {
  // A job goes on without the page; an upload does not.
  if (items.some((item) => item.phase === "uploading")) event.preventDefault();
});

// --- The start -----------------------------------------------------------------------------------------------------

async function restore() {
  for (const { job, name, fields, madeAsPng } of savedJobs()) {
    const item = new Item({ file: (await keptFile(job)) || null, name, job, fields }, changed);
    item.madeAsPng = Boolean(madeAsPng);
    items.push(item);
  }
  select(items.at(-1) || null);
  next();
}

function rememberedCompare() {
  try {
    return localStorage.getItem("edsr-compare");
  } catch {
    return null;
  }
}

speak();
const compare = $("compare").querySelector(`[value="${CSS.escape(rememberedCompare() || "bicubic")}"]`) || $("compare").querySelector("input");
compare.checked = true;
viewer.compareWith(compare.value);
offer(information);
drawKeeping();
drawTools(false, false);
draw();
document.body.classList.toggle("has-items", savedJobs().length > 0);
document.documentElement.classList.add("is-ready");
await learn();
if (information.keys && !api.key.get()) lock(false);
await forgetExpired();
await restore();
