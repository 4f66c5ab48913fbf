// The stage and what stands below it, for one item: progress, trouble, or the result with its facts.

import { words } from "./errors.js";
import { bytes, number, seconds } from "./format.js";
import { t } from "./strings.js";
import * as viewer from "./viewer.js";

const $ = (id) => document.getElementById(id);
// What is larger is not decoded in the page: four bytes a pixel, twice.
const SHOWN_PIXELS = 150e6;
const PANELS = ["empty", "working", "trouble", "locked", "done"];
const FOCUS = { working: "cancel", trouble: "retry", locked: "key", done: "slider", empty: "choose" };
const STANDING = ["waiting", "queued", "standing", "held", "offline"]; // phases whose progress nobody knows

let wantsSlider = false; // the focus goes there as soon as it is seen
let onStage = null; // the item that is being worked at
let shown = null; // { item, blob, url } on the stage

export const kindName = (format) => format.toUpperCase().replace("WEBP", "WebP");

function panelOf(item, isLocked) {
  const isOver = ["done", "failed", "cancelled"].includes(item?.phase);
  if (isLocked && !isOver) return "locked";
  if (!item) return "empty";
  if (!isOver) return "working";
  return item.phase === "done" ? "done" : "trouble";
}

export function draw(item, isLocked) {
  const panel = panelOf(item, isLocked);
  const had = document.activeElement?.closest?.(".panel");
  for (const id of PANELS) $(id).hidden = id !== panel;
  $("bench").hidden = !item;
  if (panel !== "done") clear();
  if (panel === "working") drawWorking(item);
  else if (panel === "trouble") drawTrouble(item);
  else if (panel === "done") drawDone(item);
  drawFacts(item);
  // Whoever works by keyboard is not thrown back to the top when a panel goes.
  if (had?.hidden) {
    $(FOCUS[panel]).focus();
    wantsSlider = panel === "done";
  }
}

function detailOf({ done, total, unit }) {
  const values = { done: number(unit === "tiles" ? Math.min(done + 1, total) : done), total: number(total || 0) };
  if (unit === "bytes") return total ? t("bytesOf", { done: bytes(done), total: bytes(total) }) : "";
  if (unit === "frames") return t(total ? "frames" : "framesOnly", values);
  return total > 1 ? t("tiles", values) : "";
}

async function drawWorking(item) {
  const { phase, progress } = item;
  const isStanding = STANDING.includes(phase);
  $("phase").textContent = t(phase === "offline" ? "lost" : phase, { seconds: progress.left });
  $("hurry").hidden = phase !== "held";
  $("phase-detail").textContent = isStanding ? "" : detailOf(progress);
  const isAllOrNothing = progress.total === 1; // one tile
  if (isStanding || !progress.total || isAllOrNothing) $("progress").removeAttribute("value");
  else $("progress").value = progress.done / progress.total;
  onStage = item;
  const original = await item.original();
  if (onStage !== item) return;
  $("preview").hidden = !original;
  if (original && $("preview").src !== original.url) $("preview").src = original.url;
}

function drawTrouble(item) {
  const isCancelled = item.phase === "cancelled";
  const said = isCancelled ? { title: t("cancelledTitle"), advice: t("cancelledAdvice"), detail: "" } : words(item.problem);
  for (const part of ["title", "advice", "detail"]) $(`trouble-${part}`).textContent = said[part];
  // What is no picture today is none tomorrow.
  const isHopeless = [413, 415].includes(item.problem?.status);
  $("retry").hidden = (!item.file && !item.result) || (isHopeless && !isCancelled);
}

async function drawDone(item) {
  if (shown?.blob === item.blob) return;
  clear();
  const mine = (shown = { item, blob: item.blob, url: URL.createObjectURL(item.blob) });
  if (item.isVideo || item.blob.type.startsWith("video/")) return showVideo(mine);
  const image = new Image();
  image.src = mine.url;
  const { width, height, frames } = item.result;
  const isLarge = width * height > SHOWN_PIXELS;
  const isReadable = !isLarge && (await image.decode().then(() => true, () => false));
  if (shown !== mine) return;
  if (!isReadable) return showUnseen(item, isLarge);
  const original = await item.original();
  if (shown !== mine) return;
  $("viewport").hidden = false;
  viewer.show(image, original, { moves: frames > 1 || item.kind === "GIF", name: item.name, changed: () => drawFacts(item) });
  allowTools(true, Boolean(original));
  drawFacts(item);
  if (wantsSlider && document.activeElement === document.body) (original ? $("slider") : $("viewport")).focus();
  wantsSlider = false;
}

export function allowTools(canZoom, canCompare) {
  for (const button of $("zoom").querySelectorAll("button")) button.disabled = !canZoom;
  $("compare").disabled = !canCompare;
}

function clear() {
  if (!shown) return;
  viewer.clear();
  for (const id of ["viewport", "video", "unseen"]) $(id).hidden = true;
  $("video").removeAttribute("src");
  URL.revokeObjectURL(shown.url);
  shown = null;
  allowTools(false, false);
}

function showVideo({ item, url }) {
  const video = $("video");
  video.hidden = false;
  video.onerror = () => {
    if (video.hidden) return;
    video.hidden = true;
    showUnseen(item, false);
  };
  video.src = url;
}

function showUnseen(item, isLarge) {
  $("unseen").hidden = false;
  $("unseen-title").textContent = t("unseenTitle");
  $("unseen-why").textContent = isLarge ? t("unseenLarge") : t("unseenKind", { kind: kindName(item.result.format) });
}

const made = (tag, text, lang) => Object.assign(document.createElement(tag), { textContent: text, ...(lang && { lang }) });

export function drawFacts(item) {
  const isDone = item?.phase === "done";
  const facts = item ? [item.name, ...(isDone ? factsOf(item.result) : [])] : [];
  $("facts").replaceChildren(...facts.map((text) => made("span", text)));
  // The server writes its notes in English.
  const theirs = isDone ? item.result.notes || [] : [];
  const ours = isDone ? notesOf(item) : [];
  $("notes").replaceChildren(...ours.map((text) => made("li", text)), ...theirs.map((text) => made("li", text, "en")));
}

function factsOf({ width, height, lr_width: lrWidth, lr_height: lrHeight, ...result }) {
  return [
    t("factSizes", { width, height, lrWidth, lrHeight }),
    `${kindName(result.format)}, ${bytes(result.bytes)}`,
    t("factTime", { seconds: seconds(result.seconds) }),
    result.model + (result.precision ? ` (${result.precision})` : ""),
  ];
}

function notesOf({ kind, file, madeAsPng }) {
  const isCompared = !$("viewport").hidden;
  return [
    madeAsPng && t("madeAsPng", { kind }),
    isCompared && !file && t("originalGone"),
    isCompared && file && !madeAsPng && $("compare").disabled && t("originalUnseen", { kind }),
    isCompared && viewer.fallback() && t(viewer.fallback()),
  ].filter(Boolean);
}
