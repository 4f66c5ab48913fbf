// The page: the items, their order, the key, and the words between the parts.

import * as api from "./api.js";
import { words } from "./errors.js";
import { duration, resultName } from "./format.js";
import { takeFiles } from "./intake.js";
import { ACTIVE, Item } from "./item.js";
import { forgetExpired, keptFile, savedJobs, saveJobs } from "./keep.js";
import { drawOptions, offer, requestFields } from "./options.js";
import { saveAll, saveOne } from "./saving.js";
import * as stage from "./stage.js";
import { speak, t } from "./strings.js";
import * as strip from "./strip.js";
import * as viewer from "./viewer.js";

const AT_A_TIME = 2;
const LOOK_AGAIN_MS = 5000;
const COMPARE = "edsr-compare";

const $ = (id) => document.getElementById(id);
const items = [];
let selected = null;
let isLocked = false;
let isReady = true;
let information = { models: [], formats: { in: [], out: [] }, limits: {}, keys: false };

function say(key, values) {
  $("live").textContent = t(key, values);
}

// --- Items ---------------------------------------------------------------------------------------------------------

function add(files) {
  const fields = requestFields();
  const added = files.map((file) => new Item({ file, name: file.name, fields }, changed));
  if (!added.length) return;
  items.push(...added);
  for (const item of added) item.refuseAbove(information.limits);
  select(added[0]);
  for (const item of added) tell(item);
  next();
}

function next() {
  saveJobs(items.filter((item) => item.job).map(({ job, name, fields, madeAsPng }) => ({ job, name, fields, madeAsPng })));
  if (isLocked) return;
  const active = items.filter((item) => ACTIVE.includes(item.phase)).length;
  const waiting = items.filter((item) => item.phase === "waiting");
  for (const item of waiting.slice(0, Math.max(0, AT_A_TIME - active))) item.run();
}

function changed(item) {
  if (!items.includes(item)) return;
  tell(item);
  if (item.phase === "locked") lock(Boolean(api.key.get()));
  if (item.phase === "held" && !item.isHurried) makeRoom(item);
  strip.update(item, item === selected);
  if (item === selected) draw();
  drawSaving();
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
  const { name, phase, progress, result, problem } = item;
  if (phase === "uploading") say("saysUploading", { name });
  else if (phase === "working") say("saysWorking", { name });
  else if (phase === "done") say("saysDone", { name, width: result.width, height: result.height });
  else if (phase === "cancelled") say("saysCancelled", { name });
  else if (phase === "held") say("saysHeld", { name, seconds: progress.left });
  else if (phase === "standing") say("saysStanding", { name });
  else if (phase === "failed") say("saysFailed", { name, title: words(problem).title });
}

function draw() {
  stage.draw(selected, isLocked);
  $("again").hidden = !selected?.file || !["done", "failed", "cancelled"].includes(selected.phase);
}

function select(item) {
  selected = item;
  document.body.classList.toggle("has-items", Boolean(item));
  strip.draw(items, selected);
  draw();
  drawSaving();
}

function discard(item) {
  const at = items.indexOf(item);
  if (at < 0) return;
  items.splice(at, 1);
  item.cancel();
  item.release();
  say("saysRemoved", { name: item.name });
  select(item === selected ? items[Math.min(at, items.length - 1)] || null : selected);
  next();
  (selected ? $("strip").querySelector("[aria-current=true]") : $("choose"))?.focus();
}

// --- Saving --------------------------------------------------------------------------------------------------------

const ready = () => items.filter((item) => item.phase === "done");
const named = ({ name, result }) => resultName(name, result, information.formats.out);

function drawSaving() {
  $("download-all").hidden = ready().length < 2;
  $("download").disabled = selected?.phase !== "done";
}

async function packAll() {
  const button = $("download-all");
  const percent = (share) => (button.textContent = t("packing", { percent: Math.floor(share * 100) }));
  button.disabled = true;
  try {
    await saveAll(ready().map((item) => ({ name: named(item), blob: item.blob })), percent);
  } catch {
    say("errorZip");
  }
  button.disabled = false;
  button.textContent = t("downloadAll");
}

// --- The key -------------------------------------------------------------------------------------------------------

function lock(wasRefused) {
  isLocked = true;
  api.key.set("");
  $("key-wrong").textContent = wasRefused ? t("keyWrong") : "";
  for (const item of items) if (item.phase === "locked") item.phase = "waiting";
  draw();
  $("key").focus();
}

async function unlock(key) {
  api.key.set(key);
  try {
    await api.knock();
  } catch (error) {
    if (error.status === 401) return lock(true);
  }
  isLocked = false;
  $("key").value = "";
  draw();
  next();
}

// What the server can do.
async function learn() {
  try {
    information = { ...information, ...(await api.info()) };
  } catch {
    // That shows when a picture is sent; until then the options are the usual ones.
  }
  offer(information);
  drawKeeping();
}

async function watchReadiness() {
  isReady = await api.isReady();
  drawStanding();
  // Models that were not known are known then.
  if (isReady && !information.models.length) await learn();
  if (!isReady) setTimeout(watchReadiness, LOOK_AGAIN_MS);
}

function drawStanding() {
  $("standing").textContent = isReady ? "" : t("notReady");
}

function drawKeeping() {
  $("keeping").textContent = t("keeping", { time: duration(information.limits.job_expiry_s || 86400) });
}

// --- What people do ------------------------------------------------------------------------------------------------

takeFiles({ add, nothing: () => say("nothingDropped") });
strip.on({ select, discard });
$("cancel").addEventListener("click", () => selected.cancel());
$("hurry").addEventListener("click", () => selected.hurry());
$("retry").addEventListener("click", () => {
  // Where the options were at fault, those chosen since.
  const isOptions = [400, 422, 501].includes(selected.problem?.status);
  selected.again(isOptions ? requestFields() : undefined);
});
$("again").addEventListener("click", () => selected.again(requestFields()));
$("discard").addEventListener("click", () => discard(selected));
$("download").addEventListener("click", () => saveOne(selected.blob, named(selected)));
$("download-all").addEventListener("click", packAll);
$("locked").addEventListener("submit", (event) => {
  event.preventDefault();
  unlock($("key").value.trim());
});
$("compare").addEventListener("change", ({ target }) => {
  viewer.compareWith(target.value);
  stage.drawFacts(selected);
  try {
    localStorage.setItem(COMPARE, target.value);
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
    drawStanding();
    viewer.redraw();
    select(selected);
  });
}
window.addEventListener("beforeunload", (event) => {
  // A job goes on without the page; an upload does not.
  if (items.some((item) => item.phase === "uploading")) event.preventDefault();
});

// --- The start -----------------------------------------------------------------------------------------------------

function rememberedCompare() {
  let saved = null;
  try {
    saved = localStorage.getItem(COMPARE);
  } catch {
    // Storage can be forbidden.
  }
  const choices = [...$("compare").querySelectorAll("input")];
  return choices.find((one) => one.value === saved) || choices[0];
}

async function restore() {
  await forgetExpired();
  for (const { job, name, fields, madeAsPng } of savedJobs()) {
    const item = new Item({ file: (await keptFile(job)) || null, name, job, fields }, changed);
    item.madeAsPng = Boolean(madeAsPng);
    items.push(item);
  }
  select(items.at(-1) || null);
  next();
}

speak();
const compare = rememberedCompare();
compare.checked = true;
viewer.compareWith(compare.value);
offer(information);
drawKeeping();
stage.allowTools(false, false);
draw();
document.body.classList.toggle("has-items", savedJobs().length > 0);
document.documentElement.classList.add("is-ready");
await learn();
if (information.keys && !api.key.get()) lock(false);
await restore();
await watchReadiness();
